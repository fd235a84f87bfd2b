"""An outage is not poison, and poison is no outage."""

from consumers.consumer import Reject, Unavailable
from consumers.crm.suspects import TRIES, Suspects

FAILED = Unavailable("the CRM answered 500")


def test_a_contact_that_fails_while_others_pass_is_rejected_in_the_end() -> None:
    suspects = Suspects()
    judged: list[Unavailable | Reject] = []
    for number in range(TRIES):
        judged.append(suspects.judge("poison", FAILED))
        suspects.succeeded(f"other-{number}")
    judged.append(suspects.judge("poison", FAILED))

    assert all(isinstance(each, Unavailable) for each in judged[:-1])
    assert isinstance(judged[-1], Reject)
    assert "the CRM answered 500, 11 times, while the CRM took 10 other changes" in str(judged[-1])


def test_while_the_crm_fails_for_all_nothing_is_rejected() -> None:
    suspects = Suspects()

    judged = [suspects.judge("event", FAILED) for _ in range(10 * TRIES)]

    assert all(isinstance(each, Unavailable) for each in judged)


def test_what_others_did_before_the_first_failure_does_not_count() -> None:
    suspects = Suspects()
    for number in range(10 * TRIES):
        suspects.succeeded(f"other-{number}")

    judged = [suspects.judge("event", FAILED) for _ in range(10 * TRIES)]

    assert all(isinstance(each, Unavailable) for each in judged)


def test_an_outage_of_the_whole_group_is_never_a_contacts_fault() -> None:
    suspects = Suspects()
    down = Unavailable("the CRM answered 503", scope="group")
    for number in range(10 * TRIES):
        assert suspects.judge("event", down) is down
        suspects.succeeded(f"other-{number}")


def test_a_success_ends_the_suspicion() -> None:
    suspects = Suspects()
    for number in range(TRIES - 1):
        suspects.judge("event", FAILED)
        suspects.succeeded(f"other-{number}")
    suspects.succeeded("event")

    assert isinstance(suspects.judge("event", FAILED), Unavailable)


def test_what_is_remembered_is_bounded() -> None:
    suspects = Suspects()

    for number in range(5000):
        suspects.judge(f"event-{number}", FAILED)

    assert len(suspects._failing) == 1000
