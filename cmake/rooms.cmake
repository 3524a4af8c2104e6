# room(NAME FOLDER LINKS...): every .c of FOLDER is one static library, except
# X_test.c, each of which is a cmocka test program named X_test.
function(room name folder)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.c)
    file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*_test.c)
    if(tests)
        list(REMOVE_ITEM sources ${tests})
    endif()
    if(NOT sources)
        add_library(${name} INTERFACE)
        return()
    endif()
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PRIVATE warnings PUBLIC ${ARGN})
    if(NOT UNDERSCORE_TESTS)
        return()
    endif()
    foreach(test IN LISTS tests)
        get_filename_component(test_name ${test} NAME_WE)
        unit_test(${test_name} ${test} ${name})
    endforeach()
endfunction()

# unit_test(NAME SOURCE LINKS...): one cmocka program, run from the source folder;
# its label is the folder that its source is in.
function(unit_test name source)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE warnings ${ARGN} PkgConfig::CMOCKA $<$<TARGET_EXISTS:keep_loaded>:keep_loaded>)
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    get_filename_component(folder ${source} ABSOLUTE)
    get_filename_component(folder ${folder} DIRECTORY)
    file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${folder})
    # cmocka exits with 0 when only the group's teardown failed, which is where
    # messages of the validation layer are counted.
    set_tests_properties(${name} PROPERTIES LABELS ${folder} FAIL_REGULAR_EXPRESSION "GROUP TEARDOWN")
endfunction()

# program(NAME FOLDER LINKS...): every .c of FOLDER is one executable.
function(program name folder)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.c)
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE warnings ${ARGN} $<$<TARGET_EXISTS:keep_loaded>:keep_loaded>)
    # What a program loads at each start is what it uses of its rooms' libraries: FFmpeg brings 150 more.
    target_link_options(${name} PRIVATE -Wl,--as-needed)
endfunction()
