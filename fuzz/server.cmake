# Targets of src/server.
dgemma_fuzz(http_fuzz SOURCES http_fuzz.cc DEPENDS dgemma_http)
dgemma_fuzz(wire_fuzz SOURCES wire_fuzz.cc DEPENDS dgemma_server Boost::json)

# The whole service with the scripted model of the tests.
find_package(GTest REQUIRED)
set(scripted ${PROJECT_SOURCE_DIR}/tests)
dgemma_fuzz(service_fuzz SOURCES service_fuzz.cc ${scripted}/server/wire_scripted.cc
            DEPENDS dgemma_server Boost::headers Boost::json GTest::gtest fmt::fmt)
foreach(target service_fuzz service_fuzz_replay)
  if(TARGET ${target})
    target_include_directories(${target} PRIVATE ${scripted} ${scripted}/server)
    target_compile_definitions(${target} PRIVATE DGEMMA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" BOOST_ASIO_NO_DEPRECATED)
  endif()
endforeach()
if(TARGET service_fuzz)
  target_sources(service_fuzz PRIVATE request_mutator.cc)
endif()
