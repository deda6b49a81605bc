"""Which server is copied from, and what is said when none can be."""

import pytest

from backup.plan import Candidate, choose_donor, fit_donors, why_not
from fleet.errors import ServerRefused, ServerUnreachable, ToolError
from fleet.finding import Finding, Level
from fleet.model import BackupConfig, Server


def server(name: str, role: str = "replica") -> Server:
    return Server.model_validate({"name": name, "host": "db", "region": "eu", "role": role})


def replica(name: str, lag: float | None = 0.0, problem: str | None = None) -> Candidate:
    found = (Finding(Level.FAIL, f"server {name}", problem, "Mend it."),) if problem else ()
    return Candidate(server(name), True, lag, found)


def primary(name: str = "a") -> Candidate:
    return Candidate(server(name, "primary"), False, None, ())


def unreachable(name: str, error: ToolError | None = None) -> Candidate:
    error = error or ServerUnreachable(f"server {name} does not answer")
    return Candidate(server(name), True, None, (), error)


def policy(**values: object) -> BackupConfig:
    return BackupConfig.model_validate(values)


def test_a_replica_is_taken_rather_than_the_primary() -> None:
    choice = choose_donor("s1", [primary(), replica("b"), replica("c")], policy())
    assert choice.server.name == "b"
    assert "lag 0 s" in choice.reason


def test_the_replica_with_less_lag_is_taken_and_a_part_of_a_second_does_not_count() -> None:
    assert choose_donor("s1", [replica("b", 30), replica("c", 2)], policy()).server.name == "c"
    assert choose_donor("s1", [replica("c", 0.1), replica("b", 0.3)], policy()).server.name == "b"


def test_all_that_are_fit_are_ranked_and_only_the_others_need_a_reason() -> None:
    candidates = [
        primary(),
        replica("b", 30),
        replica("c", 2),
        replica("d", problem="redo logging is disabled"),
    ]
    choices = fit_donors("s1", candidates, policy(donor="prefer-replica"))
    assert [choice.server.name for choice in choices] == ["c", "b", "a"]
    assert {choice.passed_over for choice in choices} == {("d: redo logging is disabled",)}


def test_a_named_donor_comes_first_in_the_order_of_the_config() -> None:
    candidates = [primary(), replica("b"), replica("c")]
    assert choose_donor("s1", candidates, policy(donors=("c", "b"))).server.name == "c"
    assert choose_donor("s1", candidates, policy(donors=("a",))).server.name == "a"


def test_an_unfit_named_donor_gives_way_to_the_next() -> None:
    candidates = [replica("b"), replica("c", problem="the clone plugin is not active")]
    choice = choose_donor("s1", candidates, policy(donors=("c", "b")))
    assert choice.server.name == "b"
    assert choice.passed_over == ("c: the clone plugin is not active",)


def test_the_primary_is_taken_only_when_the_policy_says_so() -> None:
    candidates = [primary(), replica("b", problem="another clone is running")]
    with pytest.raises(ServerRefused, match="another clone is running"):
        choose_donor("s1", candidates, policy(donor="replica"))
    assert choose_donor("s1", candidates, policy(donor="prefer-replica")).server.name == "a"
    assert choose_donor("s1", candidates, policy(donor="primary")).server.name == "a"


def test_without_any_donor_the_reason_of_each_server_is_told() -> None:
    candidates = [primary(), replica("b", problem="redo logging is disabled"), unreachable("c")]
    with pytest.raises(ServerRefused) as caught:
        choose_donor("s1", candidates, policy())
    assert "redo logging is disabled" in caught.value.message
    candidates.append(replica("d", problem="the clone plugin is not active"))
    with pytest.raises(ServerRefused) as caught:
        choose_donor("s1", candidates, policy())
    for name in "abcd":
        assert f"{name}: " in caught.value.message


def test_it_is_worth_a_retry_when_a_server_could_only_not_be_reached() -> None:
    with pytest.raises(ServerRefused) as caught:
        choose_donor("s1", [unreachable("b"), replica("c", problem="no")], policy())
    assert caught.value.retryable
    with pytest.raises(ServerRefused) as caught:
        choose_donor("s1", [replica("c", problem="no")], policy())
    assert not caught.value.retryable


def test_the_error_of_the_only_server_is_raised_as_it_is() -> None:
    error = ServerRefused("wrong password")
    with pytest.raises(ServerRefused, match="wrong password") as caught:
        choose_donor("s1", [unreachable("b", error)], policy())
    assert caught.value is error


def test_servers_that_only_do_not_answer_are_unreachable_and_not_refusing() -> None:
    with pytest.raises(ServerUnreachable, match="b, c"):
        choose_donor("s1", [primary(), unreachable("b"), unreachable("c")], policy())


def test_why_a_fit_server_is_passed_over_is_the_policy() -> None:
    assert why_not(primary(), policy(donor="replica")) == "a: the primary, and backup.donor is 'replica'"
    assert why_not(replica("b"), policy(donor="replica")) == ""
