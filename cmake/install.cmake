# `cmake --install` and `cpack`: a tarball of everything, and a .deb for the command, the
# coordinator, the worker and, where Open MPI is found, the staging each.
include(GNUInstallDirs)
set(systemd lib/systemd/system) # where systemd looks below /usr

# in_package(COMPONENT PACKAGE PROGRAMS...): what each package has.
function(in_package component package)
    foreach(name IN LISTS ARGN)
        if(TARGET ${name})
            install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
        endif()
    endforeach()
    set(doc ${CMAKE_INSTALL_DATADIR}/doc/${package})
    install(FILES README.md LICENSE DESTINATION ${doc} COMPONENT ${component})
    install(FILES LICENSE DESTINATION ${doc} RENAME copyright COMPONENT ${component}) # where Debian looks
    file(GLOB pages docs/man/${package}.*)
    foreach(page IN LISTS pages)
        string(REGEX REPLACE ".*\\." "" section ${page})
        install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
    endforeach()
endfunction()

# in_service(COMPONENT PACKAGE UNIT CONF STATE...): and the packages of the daemons. Their settings
# are the machine's: /etc for a prefix of /usr, PREFIX/etc otherwise. What they keep lies in STATE.
function(in_service component package unit conf)
    install(FILES systemd/${unit} DESTINATION ${systemd} COMPONENT ${component})
    install(FILES systemd/${package}.sysusers.conf DESTINATION lib/sysusers.d RENAME ${package}.conf COMPONENT ${component})
    install(FILES systemd/${package}.tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME ${package}.conf COMPONENT ${component})
    install(CODE "string(REGEX REPLACE \"/usr$\" \"\" root \"\${CMAKE_INSTALL_PREFIX}\")
        file(INSTALL \"${CMAKE_SOURCE_DIR}/conf/${conf}\" DESTINATION \"\${root}/etc/underscore\")" COMPONENT ${component})
    string(TOUPPER ${component} upper)
    set(control ${CMAKE_BINARY_DIR}/debian/${package})
    file(WRITE ${control}/conffiles "/etc/underscore/${conf}\n")
    string(REPLACE "@" "@*" running ${unit}) # of a template, all instances
    list(JOIN ARGN " " state)
    set(extra ${control}/conffiles)
    foreach(script postinst prerm postrm)
        configure_file(cmake/${script}.in ${control}/${script} @ONLY
                       FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
        list(APPEND extra ${control}/${script})
    endforeach()
    set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${extra}" PARENT_SCOPE)
    set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${package} PARENT_SCOPE)
    set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers" PARENT_SCOPE)
endfunction()

in_package(command underscore underscore underscore-film underscore-bench)
in_package(coordinator underscored underscored)
in_package(worker underscore-worker underscore-worker)
if(TARGET underscore-stage)
    in_package(stage underscore-stage underscore-stage)
    set(stage stage)
endif()
in_service(coordinator underscored underscored.service underscored.conf /var/lib/underscored)
in_service(worker underscore-worker underscore-worker@.service worker.conf
           /var/lib/underscore-worker /var/cache/underscore-worker)
install(FILES docs/completion.bash RENAME underscore
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT command)
# What a site copies and changes.
install(FILES conf/slurm/film.sbatch DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/underscore/examples COMPONENT command)
install(FILES conf/slurm/workers.sbatch DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/underscore-worker/examples COMPONENT worker)
# Where cli/model_path.h looks for the built-in model. Not ${CMAKE_INSTALL_DATADIR}: the
# program knows no other name.
if(EXISTS ${CMAKE_SOURCE_DIR}/models/demo.safetensors)
    install(DIRECTORY models/ DESTINATION share/underscore/models COMPONENT command)
    set(packaged_model "A small model to begin with is part of the package.")
else()
    set(packaged_model "Models are not part of the package.")
endif()

set(CPACK_GENERATOR TGZ DEB)
set(CPACK_COMPONENTS_ALL command coordinator worker ${stage})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGE_CONTACT "Underscore developers <developers@underscore.invalid>")
set(CPACK_PACKAGE_VENDOR "Underscore")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION video)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COMMAND_PACKAGE_NAME underscore)
set(CPACK_DEBIAN_COMMAND_PACKAGE_RECOMMENDS "mesa-vulkan-drivers | vulkan-icd")
set(CPACK_DEBIAN_STAGE_PACKAGE_NAME underscore-stage)
set(CPACK_DEBIAN_STAGE_PACKAGE_DEPENDS openmpi-bin)
set(CPACK_DEBIAN_STAGE_PACKAGE_RECOMMENDS underscore-worker)
set(CPACK_DEBIAN_WORKER_PACKAGE_RECOMMENDS "mesa-vulkan-drivers | vulkan-icd")
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_RECOMMENDS underscore)
set(CPACK_COMPONENT_COMMAND_DESCRIPTION
"Takes a film, composes music for its picture with a GVMGen model, and gives
the film back with the music as a further track. The picture is copied, not
encoded again. The model runs on any vendor's GPU through Vulkan or, where
there is none, on the CPU through Mesa's driver.
${packaged_model}")
set(CPACK_COMPONENT_COORDINATOR_DESCRIPTION
"Takes the films that underscore(1) submits, hands their segments to workers and
delivers them. Whatever is killed, nothing is lost. One of these for a farm.")
set(CPACK_COMPONENT_WORKER_DESCRIPTION
"Composes segments of films for a coordinator, on one GPU of any vendor; an
instance of its service for each GPU.")
set(CPACK_COMPONENT_STAGE_DESCRIPTION
"Copies a model to the local disks of all nodes of an Open MPI job: read once,
handed on from node to node, checked on each. Can start the workers there.")
include(CPack)
