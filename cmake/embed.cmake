# embed(TARGET NAME FILE): FILE as `static const char NAME[]`, closed by a zero, in
# NAME.h, which TARGET's sources can include.
function(embed target name file)
    set(folder ${CMAKE_BINARY_DIR}/embedded/${target})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
    file(READ ${CMAKE_SOURCE_DIR}/${file} bytes HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
    file(CONFIGURE OUTPUT ${folder}/${name}.h CONTENT "static const char ${name}[] = {\n${bytes}0 };\n")
    target_include_directories(${target} PRIVATE ${folder})
endfunction()
