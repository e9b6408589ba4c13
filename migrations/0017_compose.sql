-- Documents behind compose hashes. A row is the proof: the database itself takes none whose bytes
-- have another hash.
create table compose_documents (
    compose_hash bytea primary key check (octet_length(compose_hash) = 32),
    document bytea not null check (octet_length(document) <= 4194304),
    -- How the bytes were come by: as they were given, or written again in one of the known forms.
    form text not null,
    -- Where the document came from.
    source text not null check (source in ('cvm', 'revision', 'attestation', 'attached', 'derived')),
    place text not null check (length(place) <= 300),
    received_at timestamptz not null,
    check (sha256(document) = compose_hash)
);

-- What was tried for each request to find its document, and what came of it. Whether it is proved is
-- not a column: it is when the document is there.
create table compose_proofs (
    request_id uuid primary key references requests (id),
    compose_hash bytea not null check (octet_length(compose_hash) = 32),
    tried jsonb not null default '[]',
    -- Phala Cloud shows a document as the one of this hash, which it is not.
    contradicted text check (length(contradicted) <= 500),
    -- What the source was seen to run.
    source_compose_hash bytea check (octet_length(source_compose_hash) = 32),
    looked_at timestamptz,
    attempts integer not null default 0 check (attempts >= 0),
    -- Null when there is nothing left to try.
    next_try_at timestamptz
);

create index compose_proofs_due on compose_proofs (next_try_at) where next_try_at is not null;
create index compose_proofs_of on compose_proofs (compose_hash);

-- No request is without the intent to prove its hash.
create function compose_proof_begins() returns trigger language plpgsql as $$
begin
    insert into compose_proofs (request_id, compose_hash, next_try_at)
    values (new.id, new.compose_hash, new.created_at);
    return null;
end
$$;

create trigger compose_proof_begins after insert on requests
    for each row execute function compose_proof_begins();

insert into compose_proofs (request_id, compose_hash, next_try_at)
select id, compose_hash, case when ended_as is null and running_at is null then created_at end
from requests;

-- Nodes of Phala Cloud, as its list last showed them.
create table nodes (
    node_id text primary key check (length(node_id) <= 128),
    name text not null check (length(name) <= 500),
    region text check (length(region) <= 500),
    kms text[] not null default '{}',
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null
);

-- Which device ids a node was seen to have, and in which answer. Kept for good: the ids of a node
-- change with its firmware.
create table device_sightings (
    device_id bytea not null check (octet_length(device_id) = 32),
    node_id text not null check (length(node_id) <= 128),
    node_name text check (length(node_name) <= 500),
    first_seen_at timestamptz not null,
    first_seen_in text not null check (length(first_seen_in) <= 300),
    last_seen_at timestamptz not null,
    last_seen_in text not null check (length(last_seen_in) <= 300),
    -- When the list of nodes last showed the node with this id, and first without it.
    listed_at timestamptz,
    gone_at timestamptz,
    primary key (device_id, node_id)
);

create index device_sightings_of_node on device_sightings (node_id, last_seen_at);

-- Instances that a list showed on a device, as of then.
create table device_instances (
    instance_id text primary key check (length(instance_id) <= 128),
    app bytea not null check (octet_length(app) = 20),
    device_id bytea not null check (octet_length(device_id) = 32),
    node_id text check (length(node_id) <= 128),
    compose_hash bytea check (octet_length(compose_hash) = 32),
    status text not null check (length(status) <= 500),
    seen_at timestamptz not null
);

create index device_instances_of on device_instances (device_id);
create index requests_by_device on requests (device_id);
create index ledger_by_value on ledger (value);
create index requests_by_compose on requests (compose_hash) where status = 'prepared';
