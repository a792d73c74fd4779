# What the experiment depends on.  Every setting can be given to make: make COLLECTION=med SEED=2
COLLECTION ?= cran
DATA       ?= ../../../shared/data/retrieval/$(COLLECTION)
SEED       ?= 1
VOCAB      ?= 2048
SFT_EPOCHS ?= 6
SFT_LR     ?= 2e-3
STEPS      ?= 60
BATCH      ?= 128
LR         ?= 2e-4
KL         ?= 0.05
METRIC     ?= ndcg@10
