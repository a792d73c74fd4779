# What the experiment depends on.  Every setting can be given to make: make LENGTHS='0 64' SEED=2
SHARED     ?= $(or $(RLPIPE_SHARED),../../../shared)
# A Hugging Face directory, or a model file of llama2.c; TOKENIZER where the directory has none.
MODEL      ?= $(wildcard $(SHARED)/data/models/stories260K/hf-derived)
TOKENIZER  ?= $(if $(findstring $(SHARED),$(MODEL)),$(wildcard $(SHARED)/data/models/stories260K/tok512.bin))
# Questions, BABI_train.txt and BABI_test.txt, and texts to hide their statements in, one for each.
BABI       ?= $(SHARED)/data/longqa/babi/qa1_single-supporting-fact
TRAIN_TEXT ?= $(SHARED)/data/text/wikitext-2/valid.txt
TEST_TEXT  ?= $(SHARED)/data/text/wikitext-2/test.txt

SEED       ?= 1
QUESTIONS  ?= 800
HELD       ?= 100
# Words of a sample: shown, measured, and measured from the whole text, which must fit into the model.
SHOWN      ?= 0 64
LENGTHS    ?= 0 32 64 128 256 512
WHOLE      ?= 0 32 64 128
# Words of a segment, at most.
SEGMENT    ?= 48
EPOCHS     ?= 3
LR         ?= 2e-3
BATCH      ?= 64
# The loop (make train): samples of as many segments, passes over them, notes on each segment, notes in a batch (a multiple of both),
# learning rate, and batches between evaluations of HELD_TRAIN held-out samples.
SEGMENTS   ?= 2
PASSES     ?= 1
SAMPLES    ?= 4
TRAIN_BATCH ?= 128
TRAIN_LR   ?= 1e-4
EVAL_EVERY ?= 5
HELD_TRAIN ?= 50
# What the model is asked: for a note on a segment, and for an answer.
TEMPLATES  ?= {system_message: "", extractive_summary: "\n{query} note:", final_answer: "\n{margins}\n{query} answer:"}
ifeq ($(SMOKE),1)
QUESTIONS  := 40
HELD       := 10
LENGTHS    := 0 64
WHOLE      := 0 64
EPOCHS     := 1
# A sample's segments lie in several batches, as they do in earnest.
BATCH      := 5
TRAIN_BATCH := 64
EVAL_EVERY := 2
HELD_TRAIN := 6
endif
