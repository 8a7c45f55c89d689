"""A user's own policy: the recipe's example runs by the same seam; broken ones get one clear line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caps_fast.choose import check_options, make_policy
from caps_fast.errors import InputError
from caps_fast.scenario import preset
from caps_fast.simulation import Recording, simulate, simulate_group
from recipes import blocks

README = Path(__file__).parent.parent / "README.md"
RECIPE = Path(__file__).parent.parent / "docs" / "howto" / "policy.md"
HEAD = "from typing import NamedTuple\nfrom caps_fast.policy import policy, rules\n"
POOLED = HEAD + "@policy(layout='pools')\nclass P(NamedTuple):\n    a: float = 1.0\n@rules.route(P)\n"


def with_policy(path: Path, text: str, **options: float):
    path.write_text(text)
    return preset("paper").replace(
        {
            "policy.name": str(path),
            "policy.options": options,
            "days": 0.01,
            "workload.rate_rps": 20,
            "cluster.max_batch": 4,
        }
    )


def recipe(file: str) -> str:
    """The text of a file that the recipe for a policy has."""
    (code,) = [block.text for block in blocks(RECIPE.read_text()) if block.file == file]
    return code


def test_the_readme_lines_for_python_run_as_they_are() -> None:
    (code,) = re.findall(r"```py\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert "days=1," in code
    shorter = code.replace("days=1,", 'days=0.01, predictor__source="declared",')
    subprocess.run([sys.executable, "-c", shorter], check=True)


def test_the_recipe_s_policy_runs_and_does_what_it_says(tmp_path: Path) -> None:
    config = with_policy(tmp_path / "mine.py", recipe("shortest_first.py"), patience_s=60.0)
    shortest = simulate(config, Recording(requests=True))
    in_order = simulate(config.replace({"policy.options": {"patience_s": 0.0}}), Recording(requests=True))
    assert shortest.metrics["unfinished"] == in_order.metrics["unfinished"] == 0
    assert shortest.quantile("ttft", 0.5) < in_order.quantile("ttft", 0.5)
    rows = in_order.outcome.requests
    assert rows is not None
    assert (np.diff(rows["admitted_s"]) >= 0).all(), "patience 0 is first come, first served"
    assert np.unique(rows["gpu"]).size == config.fleet.replicas, "one queue for all GPUs"


def test_a_policy_without_rules_uses_every_pool(tmp_path: Path) -> None:
    config = with_policy(
        tmp_path / "mine.py", HEAD + "@policy(layout='pools')\nclass Plain(NamedTuple):\n    unused: float = 0.0\n"
    )
    metrics = simulate(config).metrics
    assert [metrics[f"share_{pool}"] for pool in ("lp", "cp", "bp")] == pytest.approx([1 / 3] * 3, abs=0.001)
    assert metrics["unfinished"] == 0


def test_a_file_with_two_policies_wants_a_type(tmp_path: Path) -> None:
    two = "".join(
        f"@policy(layout='pools')\nclass {name}(NamedTuple):\n    a: float = 1.0\n" for name in ("One", "Two")
    )
    config = with_policy(tmp_path / "mine.py", HEAD + two)
    with pytest.raises(InputError, match=r"mine\.py:Type\); the file declares One, Two"):
        simulate(config)
    assert type(make_policy(config.replace({"policy.name": f"{tmp_path / 'mine.py'}:Two"}))).__qualname__ == "Two"


def test_beside_built_in_policies_in_one_run(tmp_path: Path) -> None:
    config = with_policy(tmp_path / "mine.py", recipe("shortest_first.py"), patience_s=10.0)
    edf = config.replace({"policy.name": "edf"})
    check_options([edf, config])
    with pytest.raises(InputError, match=r"policy\.options\.patience_s: unknown option"):
        check_options([edf])
    rows = [result.row() for result in simulate_group([config, edf])]
    assert [row["policy"] for row in rows] == [str(tmp_path / "mine.py"), "edf"]
    assert rows[0]["requests"] == rows[1]["requests"]
    assert rows[0]["ttft_p50_s"] != rows[1]["ttft_p50_s"]


def test_an_edited_policy_is_compiled_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    route = (
        "@policy(layout='pools')\nclass Fixed(NamedTuple):\n    pool: int = 0\n@rules.route(Fixed)\ndef "
        "there(policy, t_s, r, s):\n    return {}\n"
    )
    first = simulate(with_policy(path, HEAD + route.format(0)))
    second = simulate(with_policy(path, HEAD + route.format(2)))
    assert first.metrics["share_lp"] == second.metrics["share_bp"] == 1.0
    path.write_text(HEAD + route.format(0))
    again = (
        f"from caps_fast import *; print(simulate(preset('paper').replace({{'policy.name': {str(path)!r}, 'days': "
        f"0.001}})).metrics['share_lp'])"
    )
    found = subprocess.run([sys.executable, "-c", again], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "1.0", "the cache of a later process knows the two apart"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "declared with @policy"),
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module\n", "no_such_module"),
        (HEAD + "@policy(layout='pools')\nclass P(NamedTuple):\n    a: float\n", "default"),
        (HEAD + "@policy(layout='pools')\nclass P:\n    a: float = 1.0\n", "P is not a NamedTuple"),
        ("raise SystemExit(3)\n", "SystemExit while loading the policy"),
        (
            POOLED + "def f(policy, t_s, r, s):\n    if r >= 0:\n        raise ValueError('mine')\n    return 0\n",
            "a rule raised ValueError: mine",
        ),
        (POOLED + "def f(policy, r):\n    return 0\n", "expected the arguments policy, t_s, r, s"),
        (
            POOLED + "def f(policy, t_s, r, s):\n    return s.nothing\n",
            "does not compile: line 8: route: Unknown attribute 'nothing' of type State",
        ),
        (POOLED + "def f(policy, t_s, r, s):\n    return unknown\n", "name 'unknown' is not defined"),
        (POOLED + "def f(policy, t_s, r, s):\n    return math.pi\n", "name 'math' is not defined"),
        (
            POOLED + "def f(policy, t_s, r, s):\n    return print(r)\n",
            "line 6: route returns none: expected the index of a queue",
        ),
        (POOLED + "def f(policy, t_s, r, s):\n    return [1][r]\n", "may not make lists"),
        (POOLED + "def f(policy, t_s, r, s):\n    return P(r)\n", "route returns P"),
        (
            POOLED + "def f(policy, t_s, r, s):\n    return s.queues.shape[0]\n",
            "route sent request 0 to queue 3: expected 0 to 2",
        ),
        (
            POOLED.replace("route", "order")
            + "def f(policy, t_s, r, q, s):\n    return policy.a * 1e300 * 1e300 * 0.0\n",
            "order returned the key nan for request 0",
        ),
        (
            POOLED.replace("route", "place") + "def f(policy, g, s):\n    return policy.a * 1e300 * 1e300 * 0.0\n",
            "place returned the cost nan for replica 0: expected a number",
        ),
        (HEAD + "@policy(layout='heap')\nclass P(NamedTuple):\n    a: float = 1.0\n", "layout 'heap'"),
    ],
)
def test_broken_policies(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        simulate(with_policy(tmp_path / "mine.py", text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"), [(2.5, "expected a whole number"), (float("nan"), "finite"), (1e400, "finite")]
)
def test_options_that_do_not_fit(tmp_path: Path, value: float, message: str) -> None:
    whole = HEAD + "@policy(layout='pools')\nclass P(NamedTuple):\n    a: int = 1\n"
    with pytest.raises(InputError, match=message):
        make_policy(with_policy(tmp_path / "mine.py", whole, a=value))
    assert make_policy(with_policy(tmp_path / "mine.py", whole, a=2.0)).a == 2


def test_constants_and_imports_are_part_of_what_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    helper = tmp_path / "some_helper.py"
    text = (
        "import os\nimport some_helper\nK = int(os.environ['K_OF_MINE'])\n"
        + HEAD
        + "@policy(layout='pools')\nclass P(NamedTuple):\n    a: int = 1\n"
    )

    def name(k: str, helps: str) -> str:
        monkeypatch.setenv("K_OF_MINE", k)
        helper.write_text(helps)
        for module in [name for name in sys.modules if name.startswith("caps_fast_policy_")]:
            monkeypatch.delitem(sys.modules, module)
        return type(make_policy(with_policy(tmp_path / "mine.py", text))).__name__

    assert name("1", "x = 1\n") == name("1", "x = 1\n")
    assert len({name("1", "x = 1\n"), name("2", "x = 1\n"), name("2", "x = 2\n")}) == 3


def test_unknown_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown option"):
        simulate(with_policy(tmp_path / "mine.py", recipe("shortest_first.py"), nonsense=1.0))


def test_missing_file() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        simulate(preset("paper").replace({"policy.name": "nowhere.py"}))


def test_a_scenario_cannot_change_its_preset() -> None:
    assert preset("paper").replace({"preset": "paper"}) == preset("paper")
    with pytest.raises(InputError, match="preset 'measured': a scenario made from 'paper'"):
        preset("paper").replace({"preset": "measured"})


def test_an_edit_within_the_second_and_of_the_same_size_is_seen(tmp_path: Path) -> None:
    """Python's own compiled files are told by time and size."""
    path = tmp_path / "mine.py"
    source = (
        "from typing import NamedTuple\nfrom caps_fast.policy import policy\n\n@policy(layout='pools')\nclass "
        "Mine(NamedTuple):\n    a: float = {}\n"
    )
    for value in (1.0, 2.0):
        path.write_text(source.format(value))
        os.utime(path, (1e9, 1e9))
        assert make_policy(preset("paper").replace({"policy.name": str(path)})).a == value
    assert [found.name for found in tmp_path.iterdir()] == ["mine.py"]
