CREATE ROLE pdm LOGIN PASSWORD 'demo';
CREATE DATABASE pdm OWNER pdm;
CREATE ROLE pdns LOGIN PASSWORD 'demo';
CREATE DATABASE pdns OWNER pdns;
\connect pdns
SET ROLE pdns;
\include /schema/schema.pgsql.sql
