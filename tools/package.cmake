# SPDX-License-Identifier: Apache-2.0
# What authors of plugins build with: <prefix>/include/route_plugin.h, found by find_package(routec) as routec::plugin and
# by pkg-config as routec; and the Debian package.
include(CMakePackageConfigHelpers)
set(ROUTEC_CMAKEDIR ${CMAKE_INSTALL_LIBDIR}/cmake/routec)
add_library(routec_plugin INTERFACE)
set_target_properties(routec_plugin PROPERTIES EXPORT_NAME plugin)
target_include_directories(routec_plugin INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/plugins/abi>
                                                   $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(FILES plugins/abi/route_plugin.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS routec_plugin EXPORT routecTargets)
install(EXPORT routecTargets NAMESPACE routec:: DESTINATION ${ROUTEC_CMAKEDIR})
configure_package_config_file(tools/routecConfig.cmake.in ${CMAKE_BINARY_DIR}/gen/routecConfig.cmake
                              INSTALL_DESTINATION ${ROUTEC_CMAKEDIR} PATH_VARS CMAKE_INSTALL_BINDIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/gen/routecConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/gen/routecConfig.cmake ${CMAKE_BINARY_DIR}/gen/routecConfigVersion.cmake
        DESTINATION ${ROUTEC_CMAKEDIR})
# The prefix is that of the installation, which `cmake --install --prefix` and packages choose late.
install(CODE "set(PROJECT_VERSION ${PROJECT_VERSION})
set(CMAKE_INSTALL_BINDIR ${CMAKE_INSTALL_BINDIR})
set(CMAKE_INSTALL_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
configure_file(\"${PROJECT_SOURCE_DIR}/tools/routec.pc.in\"
  \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig/routec.pc\" @ONLY)")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "the authors of routec <routec@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "compiler for gradient routing")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS libopenblas0) # opened when a product needs it
set(CPACK_DEBIAN_PACKAGE_SECTION math)
set(CPACK_DEBIAN_PACKAGE_HOMEPAGE "https://arxiv.org/abs/2410.04332")
# `routec build` links trainers with cc and these; plugins need a C compiler only
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
    "gcc, libc6-dev, zlib1g-dev, libdeflate-dev, libpng-dev, libjansson-dev, libxxhash-dev, libmd-dev")
include(CPack)
