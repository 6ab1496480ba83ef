# dgemma_embed(TARGET NAME Model FILES a.json b.safetensors): puts files into a target byte for byte. The target's
# sources may then include "embedded/model.h" and call dgemma::ModelFiles(): names (without folders) and bytes.
# An assembler's .incbin carries the bytes: size costs no compile time, and a changed file is assembled again.

function(dgemma_embed target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "NAME" "FILES")
  if(NOT ARG_NAME OR NOT ARG_FILES)
    message(FATAL_ERROR "dgemma_embed(${target}): NAME and FILES are needed")
  endif()
  string(TOLOWER "${ARG_NAME}" lower)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/embedded_${lower})

  set(EMBED_NAME ${ARG_NAME})
  set(EMBED_LOWER ${lower})
  set(EMBED_ASSEMBLY "")
  set(EMBED_SYMBOLS "")
  set(EMBED_ENTRIES "")
  set(paths "")
  set(index 0)
  foreach(file IN LISTS ARG_FILES)
    get_filename_component(path "${file}" ABSOLUTE)
    get_filename_component(base "${file}" NAME)
    if(NOT EXISTS "${path}")
      message(FATAL_ERROR "dgemma_embed(${target}): no file ${path}")
    endif()
    list(APPEND paths "${path}")
    set(symbol dgemma_embedded_${lower}_${index})
    string(APPEND EMBED_ASSEMBLY
      "  .balign 64\n  .globl ${symbol}\n  .hidden ${symbol}\n${symbol}:\n  .incbin \"${path}\"\n"
      "  .globl ${symbol}_end\n  .hidden ${symbol}_end\n${symbol}_end:\n  .byte 0\n")
    string(APPEND EMBED_SYMBOLS "extern const std::byte ${symbol}[];\nextern const std::byte ${symbol}_end[];\n")
    string(APPEND EMBED_ENTRIES "      {\"${base}\", {${symbol}, ${symbol}_end}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  set(EMBED_COUNT ${index})

  configure_file(${PROJECT_SOURCE_DIR}/cmake/embedded.h.in ${folder}/embedded/${lower}.h @ONLY)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/embedded.cc.in ${folder}/${lower}.cc @ONLY)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/embedded.S.in ${folder}/${lower}.S @ONLY)

  # An object library of its own, so that the target's C++ flags do not reach the assembler.
  add_library(${target}_${lower}_bytes OBJECT ${folder}/${lower}.S)
  set_source_files_properties(${folder}/${lower}.S PROPERTIES OBJECT_DEPENDS "${paths}")
  target_sources(${target} PRIVATE ${folder}/${lower}.cc $<TARGET_OBJECTS:${target}_${lower}_bytes>)
  target_include_directories(${target} PRIVATE ${folder})
endfunction()
