"""Virtual token counters: the service that each tenant or tier has received in a queue (docs/model.md, section 13)."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, NONE, State
from caps_fast.containers import decoders
from caps_fast.containers.queue import line_of, owner_of
from caps_fast.engine.speed import growth_s
from caps_fast.physics import iterations_until, leap_s
from caps_fast.traits import only_if


@only_if("fair")
def take_prompt(s: State, g: int, r: int) -> None:
    """Count the prompt of request `r` when replica `g` admits it for the first time."""
    s.lines[line_of(s, s.gpus[g].queue, r)].counter += s.fairness[0].input_weight * s.live[r].input_tokens


@only_if("fair")
def take_token(s: State, g: int, r: int) -> None:
    """Count the token produced by a complete prompt."""
    s.turns[s.gpus[g].queue].blocked = 0
    s.lines[line_of(s, s.gpus[g].queue, r)].counter += s.fairness[0].output_weight


@only_if("fair")
def end_leap(s: State, g: int) -> None:
    """Count the uncounted part of the leap of replica `g`, which has ended."""
    _count(s, g, s.gpus[g].leap_iterations)
    s.charged[g] = 0


@only_if("fair")
def settle(s: State, q: int) -> None:
    """Count the tokens of all iterations of queue `q` that have ended."""
    now_s = s.clock[0].now_s
    for g in range(s.queues[q].first_gpu, s.queues[q].end_gpu):
        gpu = s.gpus[g]
        if gpu.state == BUSY and gpu.decoding > 0:
            growth = growth_s(s, g)
            ended = iterations_until(now_s - gpu.since_s, gpu.step_s, growth)
            while ended > 0 and gpu.since_s + leap_s(gpu.step_s, ended, growth) > now_s:
                ended -= 1
            _count(s, g, min(ended, gpu.leap_iterations))


@inlined
def _count(s: State, g: int, ended: int) -> None:
    """Count the tokens of the sequences that replica `g` decodes, up to a number of iterations of its leap."""
    new = ended - s.charged[g]
    if new > 0 and s.gpus[g].decoding > 0:
        for at in range(s.gpus[g].heap_len):
            s.lines[line_of(s, s.gpus[g].queue, decoders.who(s, g, at))].counter += s.fairness[0].output_weight * new
        s.charged[g] = ended


@only_if("fair")
def lift(s: State, q: int, r: int) -> None:
    """Request `r` joins queue `q`: if its owner has no request there, the owner's counter is lifted, so idle time earns
    no credit.
    """
    line = s.lines[line_of(s, q, r)]
    s.turns[q].blocked = 0
    if line.waiting > 0:
        return
    settle(s, q)
    first_line = q * s.fairness[0].owners
    least = math.inf
    for at in range(s.turns[q].owners):
        least = min(least, s.lines[first_line + s.in_line[first_line + at]].counter)
    if s.turns[q].owners == 0:
        least = s.lines[first_line + s.turns[q].last_left].counter if s.turns[q].last_left != NONE else 0.0
    line.counter = max(line.counter, least)


@only_if("fair")
def block(s: State, q: int) -> None:
    """The head of queue `q` fits nowhere: no other request goes before it until an event may make room."""
    s.turns[q].blocked = 1


@only_if("fair")
def unblock(s: State, q: int) -> None:
    """A slot may have become free for queue `q`: choose its head again."""
    s.turns[q].blocked = 0


@only_if("fair")
def passes(s: State, q: int, r: int) -> None:
    """Request `r` starts at once: it was the only request of queue `q` and leaves it."""
    s.turns[q].last_left = owner_of(s, r)
