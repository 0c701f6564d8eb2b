"""The name of the user."""

import os
import pwd

import pytest

from latentlab.utils.user import user_name


@pytest.fixture(autouse=True)
def _no_names(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


def test_the_name_is_that_of_the_environment_or_of_the_password_database(monkeypatch):
    assert user_name() == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setenv("LOGNAME", "ada")
    assert user_name() == "ada"


def test_a_user_without_a_name_has_its_number(monkeypatch):
    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert user_name() == "54321"
