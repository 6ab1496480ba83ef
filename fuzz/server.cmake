# Targets of src/server.
dgemma_fuzz(http_fuzz SOURCES http_fuzz.cc DEPENDS dgemma_http)
dgemma_fuzz(wire_fuzz SOURCES wire_fuzz.cc DEPENDS dgemma_server Boost::json)
