"""The word of trust: every rule turned on and off, one at a time."""

import dataclasses

import numpy as np
import pytest

from taut.diagnostics.finding import Finding
from taut.diagnostics.psis import Weights
from taut.diagnostics.regions import Region
from taut.diagnostics.short_hmc import Chains
from taut.diagnostics.solutions import Solutions
from taut.diagnostics.tails import Tail
from taut.diagnostics.trust import draws_from, judge, weights_worth
from taut.guides.mean_field import MeanFieldNormal
from taut.loop.verdict import Verdict

NAMES = ("a", "b")
DRAWS = 4096


def _weights(k_hat=0.2, efficiency=0.8, beyond=(0.5, 0.0)):
    log_weights = np.full(DRAWS, -np.log(DRAWS))
    estimates = (-1.0, 0.1), (-0.9, 0.1)
    return Weights(log_weights, k_hat, 0.7, efficiency * DRAWS, beyond, *estimates)


def _ratios(log_evidence, largest=0.0):
    # Equal weights, but for one.
    ratios = np.full(1024, log_evidence)
    ratios[0] += largest
    return ratios


def _chains(drift=0.0, ratio=1.0, settled=True, chains=256, confirmed=False, groups=1, **more):
    # States that do not vary within a chain: as many effective draws as chains.
    states = np.tile(np.random.default_rng(0).standard_normal((1, chains, 2)), (16, 1, 1))
    log_p = np.zeros((16, chains))
    mean_drift, sd_ratio = np.array([0.0, drift]), np.array([ratio, 1.0])
    return Chains(
        states,
        log_p,
        states,
        np.arange(chains) % groups,
        mean_drift,
        sd_ratio,
        memory=0.05,
        settled=settled,
        rounds=1,
        acceptance=0.8,
        confirmed=confirmed,
        **more,
    )


def _solutions(distance=0.0, elbos=(-1.0,)):
    means = [np.array([0.0, distance * i]) for i in range(len(elbos))]
    guides = [MeanFieldNormal(mean, np.ones(2)) for mean in means]
    return Solutions(8, guides, np.array(elbos))


CONVERGED = Verdict(True, "converged", "the optimiser converged", 0.001)


@dataclasses.dataclass(frozen=True)
class Case:
    verdict: Verdict = CONVERGED
    weights: Weights | None = dataclasses.field(default_factory=_weights)
    chains: Chains | None = dataclasses.field(default_factory=_chains)
    solutions: Solutions = dataclasses.field(default_factory=_solutions)
    tails: dict = dataclasses.field(default_factory=dict)
    skipped: str = ""
    complete: bool = True
    rungs: dict = dataclasses.field(default_factory=dict)
    endless: tuple = ()
    about_draws: Finding | None = None

    def judge(self):
        return judge(
            self.verdict,
            self.weights,
            self.chains,
            self.solutions,
            NAMES,
            self.tails,
            self.skipped,
            self.complete,
            rungs=self.rungs,
            endless=self.endless,
            about_draws=self.about_draws,
        )


def _stopped(reason, gap):
    return Verdict(False, reason, "stopped", gap)


NO_DRAWS = Finding("draws", 1.0, 0.0, "bad", "Those of a are not finite.")
SKIPPED = "Short HMC was skipped."
NO_CHAINS = {"chains": None, "skipped": SKIPPED}

# What is changed, the finding it changes, the level that gets, and the word of the whole.
RULES = {
    "nothing wrong": ({}, "optimiser", "good", "trusted"),
    "small gap left": (
        {"verdict": _stopped("gradients", 0.49)},
        "optimiser",
        "doubt",
        "usable",
    ),
    "large gap left": (
        {"verdict": _stopped("gradients", 0.51)},
        "optimiser",
        "bad",
        "not trusted",
    ),
    "not settled": ({"verdict": _stopped("evaluations", 0.01)}, "optimiser", "bad", "not trusted"),
    "budget": ({"verdict": _stopped("budget", np.nan)}, "optimiser", "bad", "not trusted"),
    "interrupted": ({"verdict": _stopped("interrupted", 0.01)}, "optimiser", "bad", "not trusted"),
    "not finite": ({"verdict": _stopped("non-finite", np.nan)}, "optimiser", "bad", "not trusted"),
    # The error of k-hat is 1.95 / sqrt(192) = 0.14 here.
    "high k-hat": ({"weights": _weights(0.99)}, "k-hat", "doubt", "usable"),
    "k-hat not clearly above the limit": (
        {"weights": _weights(0.95)},
        "k-hat",
        "good",
        "trusted",
    ),
    "k-hat at its limit": (
        {"weights": _weights(0.70, 0.96), **NO_CHAINS},
        "k-hat",
        "good",
        "trusted",
    ),
    "k-hat of next to nothing": (
        {"weights": _weights(3.5, 0.5, beyond=(0.009, 0.0))},
        "k-hat",
        "good",
        "trusted",
    ),
    "a draw that holds much": (
        {"weights": _weights(3.5, 0.5, beyond=(0.1, 0.1))},
        "k-hat",
        "doubt",
        "usable",
    ),
    "draws beyond a dip": ({"chains": _chains(beyond=0.01)}, "dip", "doubt", "usable"),
    "draws beyond a dip, too few": (
        {"chains": _chains(beyond=0.01, region=Region((0.05, 0.001), 0.02, True))},
        "dip",
        "doubt",
        "usable",
    ),
    "draws beyond a dip, as many as should": (
        {"chains": _chains(beyond=0.01, region=Region((0.024, 0.005), 0.02, True))},
        "dip",
        "good",
        "trusted",
    ),
    "ends of one solution": (
        {"solutions": dataclasses.replace(_solutions(5.0, (-1.0, -1.0)), joined=True)},
        "solutions",
        "good",
        "trusted",
    ),
    "a mixture's shares": (
        {"weights": _weights(0.5), "chains": _chains(groups=2)},
        "shares",
        "good",
        "trusted",
    ),
    "shares of nearly all draws": (
        {"weights": _weights(0.6, 0.9), "chains": _chains(groups=2)},
        "shares",
        "good",
        "trusted",
    ),
    "shares that are not known": (
        {"weights": _weights(0.55), "chains": _chains(groups=2)},
        "shares",
        "doubt",
        "usable",
    ),
    "k-hat of what can be seen": (
        {"weights": _weights(3.5, 0.5, beyond=(0.011, 0.0))},
        "k-hat",
        "doubt",
        "usable",
    ),
    "k-hat of a single draw": (
        {"weights": _weights(3.5, 0.5, beyond=(0.02, 0.02))},
        "k-hat",
        "good",
        "trusted",
    ),
    "k-hat of next to nothing, where nothing else looked": (
        {"weights": _weights(3.5, 0.5, beyond=(0.009, 0.0)), **NO_CHAINS},
        "k-hat",
        "bad",
        "not trusted",
    ),
    "k-hat of nearly constant weights": (
        {"weights": _weights(0.9, 0.91)},
        "k-hat",
        "good",
        "trusted",
    ),
    "few effective draws": ({"weights": _weights(0.6, 0.09)}, "k-hat", "doubt", "usable"),
    "enough effective draws": ({"weights": _weights(0.6, 0.11)}, "k-hat", "good", "trusted"),
    "high k-hat that nothing mends": (
        {"weights": _weights(0.71), **NO_CHAINS},
        "k-hat",
        "bad",
        "not trusted",
    ),
    "few effective draws, but reliable": (
        {"weights": _weights(0.6, 0.09), **NO_CHAINS},
        "k-hat",
        "doubt",
        "usable",
    ),
    "next to no effective draws": (
        {"weights": _weights(0.6, 99 / DRAWS), **NO_CHAINS},
        "k-hat",
        "bad",
        "not trusted",
    ),
    # Two standard errors of 256 draws are 0.125: limits are 0.275 and 1.36.
    "no drift": ({"chains": _chains(0.27)}, "drift", "good", "trusted"),
    "drift of a mean": ({"chains": _chains(-0.28)}, "drift", "doubt", "usable"),
    "far drift of a mean": ({"chains": _chains(-0.51)}, "drift", "bad", "not trusted"),
    "no change of a sd": ({"chains": _chains(ratio=1.35)}, "drift", "good", "trusted"),
    "wider": ({"chains": _chains(ratio=1.37)}, "drift", "doubt", "usable"),
    "narrower": ({"chains": _chains(ratio=1 / 1.37)}, "drift", "doubt", "usable"),
    "much wider": ({"chains": _chains(ratio=2.01)}, "drift", "bad", "not trusted"),
    "much narrower": ({"chains": _chains(ratio=1 / 2.01)}, "drift", "bad", "not trusted"),
    "far off, confirmed by a long run": (
        {"chains": _chains(0.9, 2.5, confirmed=True)},
        "drift",
        "doubt",
        "usable",
    ),
    "settled": ({}, "settled", "good", "trusted"),
    "chains still move": ({"chains": _chains(settled=False)}, "settled", "bad", "not trusted"),
    "no chains, excellent weights": (
        {"weights": _weights(0.2, 0.96), **NO_CHAINS},
        "short HMC",
        "note",
        "trusted",
    ),
    "no chains, good weights": (
        {"weights": _weights(0.2, 0.94), **NO_CHAINS},
        "short HMC",
        "doubt",
        "usable",
    ),
    "checks switched off": (
        {"weights": _weights(0.2, 0.99), "complete": False, **NO_CHAINS},
        "short HMC",
        "bad",
        "not trusted",
    ),
    "no weights": ({"weights": None, **NO_CHAINS}, "short HMC", "doubt", "not trusted"),
    "one solution": ({}, "solutions", "good", "trusted"),
    "two solutions": (
        {"solutions": _solutions(8.0, (-1.0, -1.1))},
        "solutions",
        "bad",
        "not trusted",
    ),
    "a second solution of little mass": (
        {"solutions": _solutions(8.0, (-1.0, -8.0))},
        "solutions",
        "note",
        "trusted",
    ),
    "two solutions in the guide": (
        {"solutions": dataclasses.replace(_solutions(8.0, (-0.7, -0.7)), held=True)},
        "solutions",
        "good",
        "trusted",
    ),
    "two solutions in the guide, one seen once": (
        {"solutions": dataclasses.replace(_solutions(8.0, (-0.7, -0.7)), held=True, once=1)},
        "solutions",
        "bad",
        "not trusted",
    ),
    "guides that agree on the evidence": (
        {"rungs": {"full-rank": _ratios(0.4), "flow": _ratios(0.0)}},
        "evidence",
        "good",
        "trusted",
    ),
    "a guide that finds less evidence": (
        {"rungs": {"full-rank": _ratios(1.0), "flow": _ratios(0.0)}},
        "evidence",
        "bad",
        "not trusted",
    ),
    "a guide that finds more evidence": (
        {"rungs": {"full-rank": _ratios(-5.0), "flow": _ratios(0.0)}},
        "evidence",
        "good",
        "trusted",
    ),
    "more evidence that rests on one draw": (
        {"rungs": {"full-rank": _ratios(0.0, 9.0), "flow": _ratios(0.0)}},
        "evidence",
        "good",
        "trusted",
    ),
    "a heavy tail": ({"tails": {"b": Tail(30.0, 0.1)}}, "tails", "doubt", "usable"),
    "a power's tail": ({"tails": {"b": Tail(9.0, 0.4)}}, "tails", "doubt", "usable"),
    "trajectories that diverge": (
        {"chains": _chains(diverged=0.021)},
        "divergences",
        "doubt",
        "usable",
    ),
    "no end of the density": ({"endless": (1,)}, "integral", "bad", "not trusted"),
    "draws that are none": ({"about_draws": NO_DRAWS}, "draws", "bad", "not trusted"),
    "an end that is no optimum": (
        {"verdict": Verdict(True, "converged", "the optimiser converged", 10.1)},
        "optimiser",
        "bad",
        "not trusted",
    ),
    "a gap that is large for few latents": (
        {"verdict": Verdict(True, "converged", "the optimiser converged", 9.9)},
        "optimiser",
        "good",
        "trusted",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule(name):
    changes, finding, level, word = RULES[name]
    trust = dataclasses.replace(Case(), **changes).judge()
    found = {f.name: f for f in trust.findings}
    assert found[finding].level == level
    assert trust.word == word
    # Nothing else is amiss, but for what the change itself brings with it.
    worse = {f.name for f in trust.findings if f.level in ("doubt", "bad")} - {finding}
    assert worse <= {"short HMC"}


def test_a_few_divergences_are_not_told():
    trust = dataclasses.replace(Case(), chains=_chains(diverged=0.019)).judge()
    assert "divergences" not in {finding.name for finding in trust.findings}
    assert trust.word == "trusted"


def test_the_worst_finding_decides_and_comes_first():
    case = Case(
        verdict=_stopped("budget", np.nan), chains=_chains(0.28), tails={"a": Tail(20.0, 0.3)}
    )
    trust = case.judge()
    assert trust.word == "not trusted"
    levels = [finding.level for finding in trust.findings]
    assert levels == ["bad", "doubt", "doubt", *["good"] * 3, "note"]
    assert trust.findings[0].name == "optimiser"


@pytest.mark.parametrize("name", RULES)
def test_every_fit_says_what_no_check_can_see(name):
    trust = dataclasses.replace(Case(), **RULES[name][0]).judge()
    assert trust.findings[-1].name == "unseen modes"
    assert "from 8 starts" in trust.findings[-1].message


def test_the_worst_coordinate_is_named():
    text = {f.name: f.message for f in Case(chains=_chains(0.3, 1.4)).judge().findings}["drift"]
    assert "mean of b by +0.30 sd" in text
    assert "sd of a by a factor 1.40" in text
    text = {
        f.name: f.message for f in Case(solutions=_solutions(8.0, (-1.0, -1.0))).judge().findings
    }["solutions"]
    assert "shares of the mass of about 0.5, 0.5" in text
    assert text.endswith("They differ most in b.")


# Weights, and what the finding says where they are no reason for doubt.
WORDS = {
    "a low k-hat": (_weights(0.6, 0.5), "Importance weights are well behaved: 50 %"),
    "nearly equal weights": (
        _weights(0.86, 0.94),
        "The weights are so equal that a k-hat above 0.7 means little: 94 %",
    ),
    "no clear excess": (
        _weights(0.75, 0.46),
        "The chains settled, and k-hat is not clearly above 0.7: 46 %",
    ),
    "next to no mass": (
        _weights(3.5, 0.5, beyond=(0.009, 0.0)),
        "The guide is too small only far out, with 0.9 % of the mass: 50 %",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_high_k_hat_is_not_called_well_behaved(name):
    weights, words = WORDS[name]
    (finding,) = (f for f in Case(weights=weights).judge().findings if f.name == "k-hat")
    assert finding.level == "good"
    assert finding.message.startswith(words)
    assert f"(k-hat {weights.k_hat:.2f} ± " in finding.message


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("interrupted", "let it run to its end"),
        ("budget", "give it a larger budget"),
        ("evaluations", "reparameterise the model or run NUTS"),
        ("non-finite", "reparameterise the model or run NUTS"),
    ],
)
def test_the_advice_is_about_why_the_optimiser_stopped(reason, words):
    (first, *_) = Case(verdict=_stopped(reason, np.nan)).judge().findings
    assert first.advice.startswith(words)
    assert ("budget" in first.advice) == (reason == "budget")


@pytest.mark.parametrize(
    ("rounds", "words"), [(1, "within 1 round and"), (3, "within 3 rounds and")]
)
def test_rounds_are_counted_in_words(rounds, words):
    chains = dataclasses.replace(_chains(), rounds=rounds)
    messages = {f.name: f.message for f in Case(chains=chains).judge().findings}
    assert words in messages["settled"]


# Weights, chains, and where the draws come from.
SOURCES = {
    "settled chains": (_weights(0.6, 0.05), _chains(), "chains"),
    "reliable weights, worth more": (_weights(0.5, 0.07), _chains(), "weights"),
    # The largest of some drifts is sqrt(2 log 6) / 16 = 0.118 by chance: a mean has moved beyond
    # 0.178, a sd beyond a factor 1.15.
    "weights that chains moved away from": (_weights(0.3, 0.5), _chains(-0.19), "chains"),
    "weights that chains widened": (_weights(0.3, 0.5), _chains(ratio=1.16), "chains"),
    "weights that chains hardly moved": (_weights(0.3, 0.5), _chains(0.17, 1.14), "weights"),
    "weights worth twice the chains": (_weights(0.6, 0.12), _chains(), "chains"),
    "weights worth four times the chains": (_weights(0.6, 0.25), _chains(), "weights"),
    "unreliable weights": (_weights(0.8, 0.8), _chains(), "chains"),
    "chains that move": (_weights(0.6, 0.3), _chains(settled=False), "weights"),
    "no chains": (_weights(0.6, 0.3), None, "weights"),
    "equal weights of a heavy tail": (_weights(1.3, 0.95), _chains(), "chains"),
    "the same without chains": (_weights(1.3, 0.95), None, "weights"),
    "a heavy tail, still better": (_weights(0.9, 0.3), None, "weights"),
    "a tail without a mean": (_weights(1.1, 0.3), None, "guide"),
    "too few effective draws": (_weights(0.6, 0.02), None, "guide"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_where_draws_come_from(name):
    weights, chains, source = SOURCES[name]
    assert draws_from(weights, chains) == source


def test_weights_that_cannot_be_relied_on_are_worth_nothing():
    assert weights_worth(_weights(0.7, 0.5)) == 0.5 * DRAWS
    assert weights_worth(_weights(0.71, 0.5)) == 0.0
    # Nearly equal ones neither: the guide's tails may end where the posterior's go on.
    assert weights_worth(_weights(0.71, 0.9)) == 0.0
    assert weights_worth(_weights(0.2, 99 / DRAWS)) == 0.0


def test_draws_are_called_corrected_only_where_they_are():
    # Unsettled chains and bad weights leave the guide's own draws.
    settled = Case(chains=_chains(-0.28)).judge()
    unsettled = Case(chains=_chains(-0.28, settled=False), weights=_weights(0.9, 0.01)).judge()
    for trust, corrected in ((settled, True), (unsettled, False)):
        (drift,) = (f for f in trust.findings if f.name == "drift")
        assert ("The returned draws are corrected." in drift.message) == corrected
