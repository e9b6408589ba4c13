-- A proposal may be for several requests: one transaction of a Safe that adds what all of them need.
create table proposal_requests (
    proposal_id uuid not null references proposals (id),
    request_id uuid not null references requests (id),
    primary key (proposal_id, request_id)
);

create index proposal_requests_of on proposal_requests (request_id);

insert into proposal_requests (proposal_id, request_id) select id, request_id from proposals;

-- Each addition names its app: those of one transaction may be to several.
update proposals p set calls = (
    select coalesce(jsonb_agg(c.call || jsonb_build_object('app', '0x' || encode(r.app, 'hex'))
        order by c.place), '[]')
    from jsonb_array_elements(p.calls) with ordinality c (call, place)
) from requests r where r.id = p.request_id;

drop index proposals_live;
alter table proposals drop column request_id;

-- How a person wants requests put to their Safe: together, or at a certain nonce, or both.
create table batches (
    id uuid primary key,
    chain_id bigint not null check (chain_id > 0),
    safe bytea not null check (length(safe) = 20),
    nonce bigint check (nonce >= 0),
    arranged_at timestamptz not null
);

create index batches_of on batches (chain_id, safe) where nonce is not null;

alter table requests add column batch_id uuid references batches (id);
create index requests_by_batch on requests (batch_id) where batch_id is not null;

alter table proposals drop constraint proposals_nonce_choice_check;
alter table proposals add check (nonce_choice in ('next_free', 'after_queue', 'pinned'));
-- What comes before its nonce and what else has it, when it was last looked at. Shown, and decides
-- nothing.
alter table proposals add column queue jsonb;
