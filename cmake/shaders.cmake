# Every shaders/NAME.comp becomes NAME.spv.h, which holds
# `const uint32_t NAME_spv[]`: built by glslang, checked by spirv-val, embedded.
# Includes are tracked by the depfile.
find_program(GLSLANG glslangValidator REQUIRED)
find_program(SPIRV_VAL spirv-val REQUIRED)

set(SHADER_DIR ${CMAKE_BINARY_DIR}/shaders)
file(MAKE_DIRECTORY ${SHADER_DIR})

# add_shader(OUT SOURCE [DEFINES...]): one SPIR-V module named OUT.
function(add_shader name source)
    set(out ${SHADER_DIR}/${name}.spv)
    set(flags -V --quiet --target-env vulkan1.1 -I${CMAKE_SOURCE_DIR}/shaders)
    foreach(define IN LISTS ARGN)
        list(APPEND flags -D${define})
    endforeach()
    add_custom_command(OUTPUT ${out}.h
        COMMAND ${GLSLANG} ${flags} ${source} -o ${out}
        COMMAND ${SPIRV_VAL} --target-env vulkan1.1 ${out}
        COMMAND ${GLSLANG} ${flags} --depfile ${out}.d --vn ${name}_spv ${source} -o ${out}.h
        DEPENDS ${source}
        DEPFILE ${out}.d
        COMMENT "shader ${name}"
        VERBATIM)
    set_property(GLOBAL APPEND PROPERTY SHADER_HEADERS ${out}.h)
endfunction()

file(GLOB shader_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/*.comp)
foreach(source IN LISTS shader_sources)
    get_filename_component(name ${source} NAME_WE)
    # A line "// variants: A B" near the top builds NAME_A and NAME_B with
    # -DVARIANT_A and -DVARIANT_B; without it one module named NAME.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(STRINGS ${source} variants REGEX "^// variants: " LIMIT_COUNT 1)
    if(variants)
        string(REGEX REPLACE "^// variants: " "" variants "${variants}")
        separate_arguments(variants)
        foreach(variant IN LISTS variants)
            add_shader(${name}_${variant} ${source} VARIANT_${variant})
        endforeach()
    else()
        add_shader(${name} ${source})
    endif()
endforeach()
get_property(shader_headers GLOBAL PROPERTY SHADER_HEADERS)
add_custom_target(shader_headers DEPENDS ${shader_headers})
add_library(shaders INTERFACE)
add_dependencies(shaders shader_headers)
target_include_directories(shaders INTERFACE ${SHADER_DIR})
