from __future__ import annotations

import pytest

from linkage.encode.plan import rate_share


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    shares = [rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1.0)
    assert shares.index(max(shares)) in (9, 10)
    assert shares[-1] < 0.03
    assert shares[10:] == sorted(shares[10:], reverse=True)
