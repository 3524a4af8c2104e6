# `cmake --install` and `cpack`: a tarball and a .deb.
include(GNUInstallDirs)
foreach(name underscore underscore-bench underscored underscore-worker)
    if(TARGET ${name})
        install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endforeach()
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright) # where Debian looks
install(FILES docs/man/underscore.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/completion.bash RENAME underscore
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
# Where cli/model_path.h looks for the built-in model. Not ${CMAKE_INSTALL_DATADIR}: the
# program knows no other name.
if(EXISTS ${CMAKE_SOURCE_DIR}/models/demo.safetensors)
    install(DIRECTORY models/ DESTINATION share/underscore/models)
    set(packaged_model "A small model to begin with is part of the package.")
else()
    set(packaged_model "Models are not part of the package.")
endif()

set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_CONTACT "Underscore developers <developers@underscore.invalid>")
set(CPACK_PACKAGE_VENDOR "Underscore")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION video)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "mesa-vulkan-drivers | vulkan-icd")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Takes a film, composes music for its picture with a GVMGen model, and gives
the film back with the music as a further track. The picture is copied, not
encoded again. The model runs on any vendor's GPU through Vulkan or, where
there is none, on the CPU through Mesa's driver.
${packaged_model}")
include(CPack)
