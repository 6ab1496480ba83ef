# Targets of src/text.
dgemma_fuzz(tokenizer_file_fuzz SOURCES tokenizer_file_fuzz.cc DEPENDS dgemma_text)
dgemma_fuzz(tokenizer_input_fuzz SOURCES tokenizer_input_fuzz.cc DEPENDS dgemma_text)
dgemma_fuzz(chat_parser_fuzz SOURCES chat_parser_fuzz.cc DEPENDS dgemma_text)
