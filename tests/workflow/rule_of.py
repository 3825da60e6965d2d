"""The rule of a `guidelab` call: `run` takes it from the job's first output, as the command itself does.

python rule_of.py run --output results/toy2d/data/train.safetensors        prints: prepare
"""

import sys


def rule_of(words: list[str]) -> str:
    """The rule of the arguments of `guidelab`."""
    from guidelab.plan.rules import maker

    if words[0] != "run":
        return words[0]
    found = maker(next(word for word in words if word.startswith("results/")))
    assert found is not None, words
    return found[0]


if __name__ == "__main__":
    print(rule_of(sys.argv[1:]))
