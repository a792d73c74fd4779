# What the experiment depends on.  Every setting can be given to make: make demo SEED=2 STEPS=40
SEED       ?= 1
VOCAB      ?= 512
SFT_EPOCHS ?= 3
SFT_LR     ?= 2e-3
STEPS      ?= 120
BATCH      ?= 256
LR         ?= 3e-4
KL         ?= 0.03
