# Two helpers that every folder uses: dgemma_library(NAME SOURCES ... DEPENDS ...) and dgemma_test(NAME SOURCES ... DEPENDS ...).
# Warnings and C++ level are set here once.
add_library(dgemma_flags INTERFACE)
target_compile_features(dgemma_flags INTERFACE cxx_std_23)
target_compile_options(dgemma_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Wcast-qual -Wformat=2 -Wundef -Wno-unknown-warning-option -fno-math-errno -ffp-contract=off)
# GCC 12 sees overlapping copies in std::string's operator+ that are not there (GCC bug 105651, fixed in 13).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(dgemma_flags INTERFACE -Wno-restrict)
endif()
if(DGEMMA_WERROR)
  target_compile_options(dgemma_flags INTERFACE -Werror)
endif()
target_include_directories(dgemma_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)

function(dgemma_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${name} PUBLIC dgemma_flags ${ARG_DEPENDS})
endfunction()

# A GoogleTest program. LABEL (one or several): "fast" (when none is given) runs in sanitizer builds too, "threads" also
# runs under the thread sanitizer; the targets fast_tests and threads_tests build all programs with that label.
add_custom_target(fast_tests)
add_custom_target(threads_tests)
function(dgemma_test name)
  cmake_parse_arguments(ARG "" "" "LABEL;SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE dgemma_flags ${ARG_DEPENDS} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE DGEMMA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_LABEL)
    set(ARG_LABEL fast)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT 600)
  foreach(label IN LISTS ARG_LABEL)
    if(TARGET ${label}_tests)
      add_dependencies(${label}_tests ${name})
    endif()
  endforeach()
endfunction()
