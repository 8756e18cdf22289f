"""What looks alike, to the code and to the database."""

import asyncpg

from pdm_service.names import policy

LABELS = [
    "omantel",
    "0mantel",
    "ornantel",
    "oman-tel",
    "vvest",
    "c1oud",
    "doud",
    "il1",
    "a",
    "x-rn-v-v-c-l",
    "cl",
    "r-n",
]


async def test_skeleton_in_the_database(database_url: str) -> None:
    """The database computes the same skeleton as the code."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO quarantine (fqdn, pool_domain, subdomain, owner, until)"
        " SELECT label || '.pool.test', 'pool.test', label, 'x', now() FROM unnest($1::text[]) AS label",
        LABELS,
    )
    rows = await connection.fetch("SELECT subdomain, skeleton FROM quarantine")
    await connection.close()
    assert {row["subdomain"]: row["skeleton"] for row in rows} == {label: policy.skeleton(label) for label in LABELS}
