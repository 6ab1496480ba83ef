# Targets of src/model.
dgemma_fuzz(config_fuzz SOURCES config_fuzz.cc DEPENDS dgemma_model)
dgemma_fuzz(gguf_fuzz SOURCES gguf_fuzz.cc DEPENDS dgemma_model)
dgemma_fuzz(adapter_fuzz SOURCES adapter_fuzz.cc DEPENDS dgemma_model)
dgemma_fuzz(importance_fuzz SOURCES importance_fuzz.cc DEPENDS dgemma_model)
