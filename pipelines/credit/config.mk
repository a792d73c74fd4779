# What the experiment depends on.  Every setting can be given to make: make SEEDS='1 2' LENGTH=12
SEEDS      ?= 1 2 3 4 5
# gae-LAMBDA, reinforce (reward to go, whitened, no baseline), grpo
ESTIMATORS ?= gae-1 gae-.95 gae-.8 reinforce grpo
# A prompt is LENGTH symbols out of SYMBOLS, to be copied.
LENGTH     ?= 8
SYMBOLS    ?= 8
# The start: so many updates of supervised learning, which leave it half able.
SFT_STEPS  ?= 40
SFT_RATE   ?= 3e-3
UPDATES    ?= 60
BATCH      ?= 64
# Best for the total with gae-.95, by `make search`, with a seed of its own; the reward per token gets the same.
RATE        ?= 3e-3
RATES       ?= 3e-4 1e-3 3e-3 1e-2
SEARCH_SEED ?= 100
ifeq ($(SMOKE),1)
SEEDS      := 1 2
SFT_STEPS  := 2
UPDATES    := 2
BATCH      := 16
RATES      := 1e-3 3e-3
endif
