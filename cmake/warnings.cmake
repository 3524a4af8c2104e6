# What every target of ours is compiled with.
add_library(warnings INTERFACE)
target_compile_options(warnings INTERFACE -Wall -Wextra -Wshadow -Wundef -Wvla
    -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith
    -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough -Wswitch-enum
    -Wdouble-promotion -Wfloat-conversion -Wcast-qual
    $<$<BOOL:${UNDERSCORE_WERROR}>:-Werror>)
target_compile_definitions(warnings INTERFACE _GNU_SOURCE UNDERSCORE_VERSION="${PROJECT_VERSION}")
target_include_directories(warnings INTERFACE ${CMAKE_SOURCE_DIR})
# a*b+c must mean the same in every build of one file: no silent fused multiply-add.
target_compile_options(warnings INTERFACE -ffp-contract=off)

if(UNDERSCORE_SANITIZE)
    add_compile_options(-fsanitize=${UNDERSCORE_SANITIZE} -fno-sanitize-recover=all
                        -fno-omit-frame-pointer -g -UNDEBUG)
    add_link_options(-fsanitize=${UNDERSCORE_SANITIZE})
    add_library(keep_loaded OBJECT ${CMAKE_SOURCE_DIR}/tools/keep_loaded.c)
endif()
