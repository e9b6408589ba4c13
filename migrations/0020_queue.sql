-- The list of requests as a queue: what needs a person comes first, and of that the token that dies
-- first.

-- When the newest token of a request dies, which is what people see as its time left.
alter table requests add column token_expires_at timestamptz;

update requests r set token_expires_at = (
    select p.expires_at from preparations p where p.request_id = r.id
    order by (p.ended_at is null) desc, p.received_at desc, p.id desc limit 1
);

create function note_token_expiry() returns trigger language plpgsql as $$
begin
    update requests set token_expires_at = new.expires_at where id = new.request_id;
    return null;
end
$$;

create trigger note_token_expiry after insert on preparations
    for each row execute function note_token_expiry();

alter table requests
    -- 0: a person must look. 1: signatures or the execution are missing. 2: it goes on by itself. 3: over.
    -- By the rules of `Facts::status` and `Facts::needs_attention`, which a test holds against it.
    add column queue_rank smallint not null generated always as (
        case
            when attention is not null then 0
            when ended_as is not null and committed_at is not null then 0
            when ended_code in
                ('boot-differs', 'created-without-approval', 'updated-without-approval') then 0
            when ended_as is not null or running_at is not null then 3
            when committed_at is not null or attempt_id is not null
                or registered_at is not null or executed_at is not null then 2
            when approved_at is not null or proposal_id is not null then 1
            else 2
        end
    ) stored,
    -- In milliseconds: when the token dies; of what is over the end, counted backwards, so that the
    -- newest one comes first.
    add column queue_at bigint not null generated always as (
        coalesce(
            -(extract(epoch from coalesce(ended_at, running_at) at time zone 'UTC') * 1000)::bigint,
            (extract(epoch from token_expires_at at time zone 'UTC') * 1000)::bigint,
            0
        )
    ) stored;

create index requests_queue on requests (queue_rank, queue_at, id);
create index requests_queue_by_status on requests (status, queue_rank, queue_at, id);
create index requests_queue_of_app on requests (app, queue_rank, queue_at, id);

-- Every request is read together with its newest token.
create index preparations_of on preparations (request_id);
