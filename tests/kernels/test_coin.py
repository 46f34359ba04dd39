"""The coin: the numbers it is, and that it is fair and its own."""

from hashlib import blake2b

from ringroad.kernels.coin import coin


def test_known_numbers() -> None:
    assert coin(0, 0) == 0.36879946478753545
    assert coin(0, 1) == 0.2632578766912177
    assert coin(42, 7) == 0.9516930185605573
    assert coin(2**64 - 1, 2**32) == 0.33441202604191056


def test_it_is_what_the_page_says() -> None:
    data = (42).to_bytes(8, "little") + (7).to_bytes(8, "little")
    word = int.from_bytes(blake2b(data, digest_size=8, person=b"ringroad coin").digest(), "little")
    assert coin(42, 7) == (word // 2**11) / 2**53


def test_it_is_even_over_seeds_and_places() -> None:
    thrown = [coin(seed, place) for seed in range(50) for place in range(200)]
    assert all(0.0 <= each < 1.0 for each in thrown)
    for tenth in range(1, 10):
        below = sum(each < tenth / 10 for each in thrown) / len(thrown)
        assert abs(below - tenth / 10) < 0.02
    assert len(set(thrown)) == len(thrown)
