# The library as others link it, and what `cmake --install` lays down: bin/dgemma, lib/libdgemma.so, include/dgemma/,
# dgemma.pc for pkg-config, dgemmaConfig.cmake for find_package, share/doc/dgemma. Called by the root CMakeLists.txt.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# One shared library made of all folders below apps/. Only what include/dgemma/ marks DGEMMA_API is visible in it, and
# the libraries it uses inside never reach the program that links it.
function(dgemma_package)
  set(folders "")
  set(objects "")
  foreach(folder IN LISTS ARGN)
    if(TARGET dgemma_${folder})
      list(APPEND folders dgemma_${folder})
      list(APPEND objects $<TARGET_OBJECTS:dgemma_${folder}>)
    endif()
  endforeach()

  # All objects of every folder, not only what something already linked asks for; the archives bring what they link.
  add_library(libdgemma SHARED ${objects})
  add_library(dgemma::dgemma ALIAS libdgemma)
  set_target_properties(libdgemma PROPERTIES
    OUTPUT_NAME dgemma
    EXPORT_NAME dgemma
    LINKER_LANGUAGE CXX
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/dgemma.map)
  target_link_libraries(libdgemma PRIVATE ${folders})
  target_link_options(libdgemma PRIVATE
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/dgemma.map -Wl,--gc-sections)
  target_compile_features(libdgemma PUBLIC cxx_std_23)
  target_include_directories(libdgemma PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

  install(TARGETS libdgemma EXPORT dgemma LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dgemma DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)
  install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
  if(EXISTS ${PROJECT_SOURCE_DIR}/README.md)
    install(FILES ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
  endif()
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples DESTINATION ${CMAKE_INSTALL_DOCDIR})

  # dgemma.pc finds its folder by itself, so that an installed tree may be moved.
  file(RELATIVE_PATH DGEMMA_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/dgemma.pc.in ${PROJECT_BINARY_DIR}/dgemma.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/dgemma.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/dgemma)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/dgemmaConfig.cmake.in
    ${PROJECT_BINARY_DIR}/dgemmaConfig.cmake INSTALL_DESTINATION ${package})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/dgemmaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/dgemmaConfig.cmake ${PROJECT_BINARY_DIR}/dgemmaConfigVersion.cmake
    DESTINATION ${package})
  install(EXPORT dgemma NAMESPACE dgemma:: DESTINATION ${package} FILE dgemmaTargets.cmake)
endfunction()

# Installs every program that a folder builds.
function(dgemma_install_programs folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
  endforeach()
endfunction()
