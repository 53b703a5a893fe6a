"""Points in time in claims."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from compose.trust.clock import instant, moment


def test_an_instant_is_utc_to_the_second() -> None:
    berlin = timezone(timedelta(hours=1))

    assert instant(datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=berlin)) == "2026-01-02T02:04:05Z"
    assert moment("2026-01-02T02:04:05Z") == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)


def test_a_time_without_a_zone_is_no_moment() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        instant(datetime(2026, 1, 2))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "2026-01-02",
        "2026-01-02T02:04:05",
        "2026-01-02T02:04:05+00:00",
        "2026-1-2T02:04:05Z",
        "2026-01-02T02:04:05Z\n",
        "2026-02-30T00:00:00Z",
        "2026-01-02T25:00:00Z",
        "\u0662026-01-02T02:04:05Z",
    ],
)
def test_any_other_spelling_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"UTC time|range|format|remains"):
        moment(written)
