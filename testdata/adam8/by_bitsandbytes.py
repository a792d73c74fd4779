# usage: python3 by_bitsandbytes.py > steps.txt
# AdamW in double whose moments are rounded by bitsandbytes, on the CPU: its maps, and of each step codes, the largest
# magnitude of each block, and the weights.  A line is a name and its numbers.
import sys

import torch
from bitsandbytes import functional as F

N, BLOCK, STEPS = 600, 256, 4
LR, B1, B2, EPS, DECAY = 1e-2, 0.9, 0.999, 1e-8, 0.1


def numbers(seed, spread):  # of one sign and the other, over `spread` binary orders of size; exact in float32
    out, z = [], seed
    for i in range(N):
        z = (z * 1664525 + 1013904223) % 2**32
        out.append(((z >> 8) - 2**23) * 2.0 ** (-23 - (i * 7) % spread))
    return torch.tensor(out, dtype=torch.float32)


def narrow(x, code):  # of a tensor of doubles it looks for the nearest entry; see README.md
    return *torch.ops.bitsandbytes.quantize_blockwise(x.float().double(), code, BLOCK), code


def widen(x):
    codes, absmax, code = x
    return F.dequantize_blockwise(codes, absmax=absmax, code=code, blocksize=BLOCK).double()


def put(name, values):
    print(name, *("%.9g" % x for x in values.tolist()))


def put_codes(name, values):
    print(name, *values.tolist())


signed, unsigned = F.create_dynamic_map(signed=True), F.create_dynamic_map(signed=False)
put("map.m", signed)
put("map.v", unsigned)
w, m, v = numbers(1, 3), None, None
for step in range(1, STEPS + 1):
    g = numbers(10 + step, 20).double()
    old = [0.0 if x is None else widen(x) for x in (m, v)]
    m_new, v_new = B1 * old[0] + (1 - B1) * g, B2 * old[1] + (1 - B2) * g * g
    m_hat, v_hat = m_new / (1 - B1**step), v_new / (1 - B2**step)
    w = (w.double() * (1 - LR * DECAY) - LR * m_hat / (v_hat.sqrt() + EPS)).float()
    m = narrow(m_new, signed)
    v = narrow(v_new, unsigned)
    put("w", w)
    for name, x in ("m", m), ("v", v):
        put_codes(name + ".code", x[0])
        put(name + ".absmax", x[1])
sys.stdout.flush()
