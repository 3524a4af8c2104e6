# embed_text(TARGET FILE...): FILE, say cli/page.css, becomes page_css.h, which holds
# `static const unsigned char page_css[]`: written out with fwrite(), so not terminated.
function(embed_text target)
    set(folder ${CMAKE_BINARY_DIR}/embedded)
    foreach(file IN LISTS ARGN)
        get_filename_component(name ${file} NAME)
        string(MAKE_C_IDENTIFIER ${name} name)
        file(READ ${CMAKE_SOURCE_DIR}/${file} bytes HEX)
        string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
        string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
        file(CONFIGURE OUTPUT ${folder}/${name}.h
            CONTENT "static const unsigned char ${name}[] = {\n${bytes}\n};\n")
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
    endforeach()
    target_include_directories(${target} PRIVATE ${folder})
endfunction()
