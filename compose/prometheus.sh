#!/bin/sh
# The chart's files hold one rule each; Prometheus reads rules in groups.
set -eu
{
    printf 'groups:\n- name: pool-domain-manager\n  rules:\n'
    for rule in /etc/prometheus/alerts/*.yaml; do
        sed '1s/^/  - /; 1!s/^/    /' "$rule"
    done
} >/tmp/rules.yml
exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus
