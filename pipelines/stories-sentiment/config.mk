# What the experiment depends on.  Every line can be given to make: make SEED=2 KL=.1
SHARED     ?= $(or $(RLPIPE_SHARED),../../../shared)
# A Hugging Face directory, or a model file of llama2.c; TOKENIZER where the directory has none.
MODEL      ?= $(wildcard $(SHARED)/data/models/stories260K/hf-derived)
TOKENIZER  ?= $(if $(findstring $(SHARED),$(MODEL)),$(wildcard $(SHARED)/data/models/stories260K/tok512.bin))
# vader_lexicon.txt; without one it is taken out of a Python package.
LEXICON    ?= $(wildcard $(SHARED)/data/sentiment/vader/vader_lexicon.txt)
# Beginnings of your own, {"prompt": "..."} on each line; without them the model makes them up.
BEGINNINGS ?=
STORIES    ?= 2000
HELD       ?= 256

SEED       ?= 1
STEPS      ?= 40
BATCH      ?= 64
TOKENS     ?= 64
LR         ?= 2e-4
PPO        ?= --critic shared --ppo-epochs 2
# 1: the valence of each word on its token, instead of the compound score of the text on the last.
PER_TOKEN  ?= 0
KL         ?= $(if $(filter 1,$(PER_TOKEN)),1,.05)
ifeq ($(SMOKE),1)
STORIES    := 100
HELD       := 16
STEPS      := 2
BATCH      := 16
TOKENS     := 24
endif
