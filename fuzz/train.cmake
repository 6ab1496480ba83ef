# Targets of src/train.
dgemma_fuzz(train_data_fuzz SOURCES train_data_fuzz.cc DEPENDS dgemma_train)
