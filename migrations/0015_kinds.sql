-- A request may also be for an update: another compose document for a CVM that is there.

alter table requests
    drop constraint requests_kind_check,
    add constraint requests_kind check (kind in ('replica', 'update')),
    -- An update happens where its CVM is.
    add constraint requests_update_has_no_node check (kind = 'replica' or node_id is null),
    -- What was sent to Phala Cloud to prepare it, sealed. Kept for as long as it may be prepared again.
    add column prepare_body_sealed bytea,
    add constraint requests_prepare_body check (
        prepare_body_sealed is null or (committed_at is null and ended_at is null)),
    -- What Phala Cloud calls the work that an update set off.
    add column operation text check (length(operation) <= 200),
    add constraint requests_operation check (operation is null or committed_at is not null);

-- One new replica answers one request; a CVM may be updated time and again.
drop index requests_replica;
create unique index requests_replica on requests (replica_id)
    where replica_id is not null and kind = 'replica';
create index requests_of_cvm on requests (replica_id) where replica_id is not null;

-- An update of a CVM and a replica made from it are prepared beside each other.
alter table preparations
    add column kind text not null default 'replica' check (kind in ('replica', 'update'));
drop index preparations_live;
create unique index preparations_live on preparations (source_cvm, node_id, kind)
    where ended_at is null;

-- What the CVM ran before the first commit of its update, when Phala Cloud showed that.
alter table commit_attempts
    add column compose_before bytea check (octet_length(compose_before) = 32);
