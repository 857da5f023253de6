"""The database fixture: the unmodified client library writes, InfluxQL reads, a crash loses nothing acknowledged."""

from __future__ import annotations

import pytest
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from tests.servers.influx_server import InfluxServer, v1_path

NOON = 1_700_000_000_000_000_000


def write(server: InfluxServer, *lines: str) -> None:
    with InfluxDBClient(server.url, token="", org="-", enable_gzip=True) as client:
        client.write_api(write_options=SYNCHRONOUS).write(server.database, "-", list(lines))


def test_v2_address_becomes_v1_address() -> None:
    assert v1_path("/api/v2/write?org=o&bucket=plant&precision=us") == "/write?db=plant&precision=u"
    assert v1_path("/api/v2/write?bucket=plant/month") == "/write?db=plant&precision=ns&rp=month"
    assert v1_path("/query?q=SHOW+DATABASES") == "/query?q=SHOW+DATABASES"


@pytest.mark.needs_influxdb
def test_what_the_client_writes_is_read_back_and_survives_a_crash(influxdb: InfluxServer) -> None:
    write(influxdb, f"kwh,meter=m1 value=12.25 {NOON}", f"kwh,meter=m2 value=7 {NOON}")
    influxdb.kill()
    influxdb.start()
    rows = influxdb.query("SELECT value FROM kwh GROUP BY meter")
    assert rows == [{"time": NOON, "value": 12.25, "meter": "m1"}, {"time": NOON, "value": 7, "meter": "m2"}]


@pytest.mark.needs_influxdb
def test_a_refusal_reaches_the_client(influxdb: InfluxServer) -> None:
    write(influxdb, f"kwh value=1.0 {NOON}")
    with pytest.raises(ApiException, match="type conflict") as refused:
        write(influxdb, f'kwh value="text" {NOON + 1}')
    assert refused.value.status == 400


@pytest.mark.needs_influxdb
def test_a_dead_database_is_a_bad_gateway(influxdb: InfluxServer) -> None:
    influxdb.kill()
    with pytest.raises(ApiException) as refused:
        write(influxdb, f"kwh value=1.0 {NOON}")
    assert refused.value.status == 502
