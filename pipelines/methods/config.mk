# What the experiment depends on.  Every setting can be given to make: make SEEDS='1 2' BUDGET=64000
SEEDS   ?= 1 2 3 4 5
METHODS ?= ppo reinforce rloo grpo
# The budget of a run: tokens sampled, in batches of so many completions.
BUDGET  ?= 32000
BATCH   ?= 256
# Completions of one prompt that rloo and grpo compare; with ppo and reinforce each completion has a prompt of its own.
GROUP   ?= 4
KL      ?= 0.03
# Learning rates: the best by `make search`, which looks at training questions only, with a seed of its own.
RATE_ppo       ?= 1e-3
RATE_reinforce ?= 3e-3
RATE_rloo      ?= 3e-3
RATE_grpo      ?= 3e-3
RATES          ?= 1e-4 3e-4 1e-3 3e-3 1e-2
SEARCH_SEED    ?= 100
ifeq ($(SMOKE),1)
SEEDS   := 1 2
BUDGET  := 300
BATCH   := 32
RATES   := 3e-4 1e-3
endif
