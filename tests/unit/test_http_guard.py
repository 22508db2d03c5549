"""Where the http handler may go."""

from __future__ import annotations

import pytest

from scheduledjobs.errors import SettingsError
from scheduledjobs.handlers.http import AddressRefused, Guard


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "224.0.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_refuses_addresses_that_no_job_should_call(address: str) -> None:
    with pytest.raises(AddressRefused, match="SCHEDULEDJOBS_HTTP_ALLOW"):
        Guard().check(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200",
        "168.63.129.16", "::ffff:168.63.129.16", "192.0.0.192",
    ],
)  # fmt: skip
def test_refuses_the_metadata_services_of_clouds(address: str) -> None:
    with pytest.raises(AddressRefused, match="SCHEDULEDJOBS_HTTP_ALLOW"):
        Guard().check(address)
    Guard(["0.0.0.0/0", "::/0"]).check(address)  # who says so may


@pytest.mark.parametrize(
    "address", ["10.0.0.7", "64:ff9b::a00:7", "2002:a00:7::", "192.168.1.1", "93.184.215.14", "2606:2800:21f::1"]
)
def test_lets_services_and_public_addresses_be_called(address: str) -> None:
    Guard().check(address)


def test_a_setting_allows_what_is_refused_by_default() -> None:
    Guard(["127.0.0.0/8"]).check("127.0.0.1")


def test_a_wrong_cidr_is_named() -> None:
    with pytest.raises(SettingsError, match="SCHEDULEDJOBS_HTTP_ALLOW"):
        Guard(["not-a-cidr"])
