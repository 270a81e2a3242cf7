"""`reftide bench abuse`: what callers without a key can do to everybody else."""

from typing import Final

import click

from scripts.bench import options
from scripts.bench.abuse.attacks import ATTACKS
from scripts.bench.abuse.beside import Attackers, beside
from scripts.bench.abuse.fairness import fairness
from scripts.bench.abuse.fill import filled
from scripts.bench.abuse.fuzz import fuzz
from scripts.bench.abuse.others import Load
from scripts.bench.abuse.single import single
from scripts.bench.environment.runs import Result
from scripts.environment import Environment

_MIXTURE: Final = "mixture"
_OTHERS: Final = ("fairness", "fill", "fuzz", "single")


@options.measurement(
    options.option(
        "scenario",
        click.Choice([_MIXTURE, *ATTACKS, *_OTHERS]),
        _MIXTURE,
        "What attackers do.",
    ),
    options.pairs(3),
    options.seconds(10.0),
    options.number("share", 0.3, "Honest clicks, of saturation.", least=0.01, most=1),
    options.number("seed", 1, "The same seed makes the same attacks.", least=0),
    options.number("requests", 100_000, "Of `fill` and `fuzz`; of `single` at most."),
    options.EDGES,
    options.WORKERS,
    epilog="""\b
  reftide bench abuse
  reftide bench abuse --scenario half-heads --seconds 5
  reftide bench abuse --scenario fuzz --requests 100000 --seed 7
  reftide bench abuse --scenario fill --requests 1000000

\b
Honest clicks come at --share of what saturates, on 64 connections. Attackers send as many
requests on 64 others; a batch counts as its events. The figure is the p99 of the honest
clicks beside the attacks, the baseline without. A click is lost if it was answered with
200 and is not recorded. The mixture is of all attacks; each can be measured alone.

\b
  fairness  p99 of a workspace's batches, while another sends them as fast as it can
  fill      memory of keys after keyless requests from rotating addresses and a window
            of 30 s, against before; keys that outlast the window
  fuzz      requests changed at random: 5xx, and answers that take a second
  single    the longest time that one keyless request takes of an edge, by route, and a
            batch between two yields

\b
`spoofing` comes from 127.0.0.2, which Linux has without being told.
""",
)
def abuse(  # noqa: PLR0913 -- what a caller may choose
    environment: Environment,
    *,
    scenario: str,
    pairs: int,
    seconds: float,
    share: float,
    seed: int,
    requests: int,
    edges: int,
    workers: int,
) -> Result:
    """What callers without a key can do to everybody else."""
    load = Load(pairs=pairs, seconds=seconds, edges=edges, workers=workers)
    if scenario == "fuzz":
        return fuzz(environment, requests=requests, seed=seed)
    if scenario == "single":
        return single(environment, requests=requests, seed=seed)
    if scenario == "fill":
        return filled(environment, load, requests, seed)
    if scenario == "fairness":
        return fairness(environment, load)
    attacks = list(ATTACKS) if scenario == _MIXTURE else [scenario]
    return beside(environment, load, Attackers(attacks, share, seed))
