-- Reftide's whole schema. Apply it to an empty database or over any earlier version of
-- itself, as often as you like: `reftide schema`. It runs as one transaction.
--
-- How it changes: a new column is an `alter table … add column if not exists` at the end of
-- its table's section, never an edit inside `create table`, so that an upgraded database
-- and a fresh one are equal to the last column.
--
-- Ids are UUIDv7 made by the application. Nothing here references `events`: it is
-- partitioned, written in bulk, and its partitions are detached one day.

select pg_advisory_xact_lock(hashtext('reftide schema'));


-- Types ----------------------------------------------------------------------------------

do $$ begin
create type event_kind as enum (
    'click',      -- a visitor followed a link
    'lead',       -- a customer signed up
    'sale',       -- a customer paid
    'deferred',   -- a lead that waits for its second call; counts nothing
    'link'        -- a link generated at the edge; counts nothing
);
exception when duplicate_object then null; end $$;

-- All or part of a sale was paid back. The transaction that adds the value cannot name it: what
-- stands below asks for its text.
alter type event_kind add value if not exists 'refund';

do $$ begin
create type customer_status as enum (
    'click',      -- has clicked
    'lead',       -- has signed up
    'customer'    -- has paid; a status never moves back
);
exception when duplicate_object then null; end $$;

do $$ begin
create type attribution_model as enum (
    'last_click',   -- a lead belongs to the customer's latest click before it
    'first_click'   -- a lead belongs to the customer's earliest click
);
exception when duplicate_object then null; end $$;

do $$ begin
create type quarantine_reason as enum (
    'undecodable',        -- the entry holds no envelope
    'unstorable',         -- Postgres refuses the row; `detail` has its SQLSTATE
    'future_id',          -- minted by a clock more than five minutes ahead of ours
    'crash_loop',         -- workers died again and again while processing it alone
    -- client-caused: these never pause recording
    'unknown_link',       -- no link has this code
    'inactive_link',      -- the link is switched off
    'unknown_program',    -- no program has this number
    'unknown_click',      -- the click id is not ours, or of another workspace
    'expired',            -- the click is older than the attribution window
    'unauthorised'        -- no live API key of this workspace
);
exception when duplicate_object then null; end $$;

do $$ begin
create type quarantine_status as enum (
    'open',       -- waits for an operator, or for its link to be created
    'redriven',   -- was put back and has a row, or is a repeat
    'discarded'   -- given up by an operator; the row stays as the trail
);
exception when duplicate_object then null; end $$;

do $$ begin
create type pause_cause as enum (
    'bug',        -- the workers raised an unexpected error
    'culprits'    -- too many entries hold what cannot be recorded
);
exception when duplicate_object then null; end $$;

do $$ begin
create type quarantine_action as enum (
    'edited',     -- an operator changed the envelope
    'asked',      -- an operator asked for it to be put back
    'redriven',   -- it was put back
    'failed',     -- it was tried, and stays
    'discarded'   -- an operator gave it up
);
exception when duplicate_object then null; end $$;

do $$ begin
create type replay_mode as enum (
    'missing',    -- insert what is not recorded, change nothing else
    'reprocess'   -- resolve and enrich again, correct rows and counters by the difference
);
exception when duplicate_object then null; end $$;

do $$ begin
create type replay_status as enum (
    'running',    -- chunks are being taken
    'paused',     -- by an operator
    'cancelled',  -- by an operator, for good
    'done'
);
exception when duplicate_object then null; end $$;

do $$ begin
create type switch_scope as enum (
    'installation',   -- everything; the subject is empty
    'dialect',        -- one vendor's routes; the subject is its name
    'program',        -- the subject is the program's number
    'link'            -- the subject is the link's public id
);
exception when duplicate_object then null; end $$;


-- Workspaces, programs, partners, links --------------------------------------------------

create table if not exists workspaces (
    id           uuid         primary key,
    name         text         not null unique,
    created_at   timestamptz  not null default now()
);

-- Domains whose codes are a namespace of their own.
create table if not exists domains (
    domain         text         primary key check (domain = lower(domain)),
    workspace_id   uuid         not null references workspaces,
    created_at     timestamptz  not null default now()
);

-- Besides http and https, where its links may lead; whether `/Alice` is another code than `/alice`.
alter table domains
    add column if not exists schemes text[] not null default '{}',
    add column if not exists is_case_sensitive boolean not null default false;

create table if not exists api_keys (
    id             uuid         primary key,
    workspace_id   uuid         not null references workspaces,
    name           text         not null default '',
    key_hash       bytea        not null unique check (length(key_hash) = 32),   -- HMAC-SHA-256
    last_four      text         not null,       -- to recognise it by; all we keep of the key
    scopes         text[]       not null,
    created_at     timestamptz  not null default now(),
    revoked_at     timestamptz                  -- set: refused within a second
);

-- From where browsers may use a publishable key, `https://shop.example`; * from anywhere.
alter table api_keys add column if not exists origins text[] not null default '{}';

create table if not exists programs (
    id                        uuid               primary key,
    number                    bigint             not null generated by default as identity unique,
    workspace_id              uuid               not null references workspaces,
    name                      text               not null,
    url                       text               not null default '',
    model                     attribution_model  not null default 'last_click',
    cookie_window_days        integer            not null default 60 check (cookie_window_days between 1 and 365),
    attribution_window_days   integer            not null default 60 check (attribution_window_days between 1 and 365),
    created_at                timestamptz        not null default now(),
    unique (workspace_id, name)
);

-- Whether its leads are taken only from servers that show a key.
alter table programs add column if not exists needs_server_lead boolean not null default false;

-- Whether edges are told what its partners' links brought; costs the workers a little.
alter table programs add column if not exists has_stats boolean not null default false;

-- Where a redirect leads whose link is off or over and has no such address of its own.
alter table programs add column if not exists fallback_url text;

create table if not exists partners (
    id             uuid         primary key,
    workspace_id   uuid         not null references workspaces,
    public_id      text         not null unique,       -- what vendors' answers show
    code           text         not null,              -- the partner's own short name
    name           text         not null default '',
    email          text,
    created_at     timestamptz  not null default now(),
    unique (workspace_id, code)
);

-- The URL of the partner's picture, for the answers of vendors that show one.
alter table partners add column if not exists image text;

-- A partner's enrolment in a program, with its counters. Updated in place and often:
-- the free space keeps updates on their page, and no index holds a counter.
create table if not exists program_partners (
    program_id         uuid         not null references programs,
    partner_id         uuid         not null references partners,
    clicks             bigint       not null default 0,
    bot_clicks         bigint       not null default 0,
    duplicate_clicks   bigint       not null default 0,
    leads              bigint       not null default 0,
    sales              bigint       not null default 0,
    created_at         timestamptz  not null default now(),
    primary key (program_id, partner_id)
) with (fillfactor = 50);

-- Clicks that are neither a bot's nor a duplicate: what people mean by "clicks". Here and in
-- `links`, `link_days` and `counter_base` null stands for a sum that is not made yet; it is made
-- below, once.
alter table program_partners add column if not exists unique_clicks bigint;

-- Leads that no API key vouches for and that do not count, since another lead does in their place.
-- Null while what is recorded already is not summed up.
alter table program_partners add column if not exists unverified_leads bigint;

alter table program_partners add column if not exists refunds bigint not null default 0;

create table if not exists links (
    id                 uuid         primary key,
    workspace_id       uuid         not null references workspaces,
    public_id          text         not null unique,      -- what vendors' answers show
    namespace          text         not null,             -- '-', or 'd:' and a domain
    code               text         not null,
    domain             text         not null default '',
    url                text         not null default '',
    program_id         uuid         references programs,
    partner_id         uuid         references partners,
    is_active          boolean      not null default true,
    clicks             bigint       not null default 0,   -- every click but tests
    bot_clicks         bigint       not null default 0,   -- of them, by bots
    duplicate_clicks   bigint       not null default 0,   -- of them, again within the hour
    leads              bigint       not null default 0,
    sales              bigint       not null default 0,
    last_clicked_at    timestamptz,                       -- the latest click entry, repeats too
    created_at         timestamptz  not null default now(),
    unique (namespace, code)                              -- a code's look-up, and its owner
) with (fillfactor = 50);

alter table links
    add column if not exists unique_clicks bigint,
    add column if not exists unverified_leads bigint not null default 0,
    add column if not exists refunds bigint not null default 0;

-- What redirects ask of a link: until when it leads to its URL, where it leads otherwise, and
-- under which name the URL is given the click id.
alter table links
    add column if not exists expires_at timestamptz,
    add column if not exists fallback_url text,
    add column if not exists click_param text;

-- What customers who come by the link save, in Dub's words.
alter table links add column if not exists discount jsonb;

-- The id that another system gives it.
alter table links add column if not exists external_id text;
create unique index if not exists links_external on links (workspace_id, external_id) where external_id is not null;

-- A program's or a partner's links, to publish them anew when it changes.
create index if not exists links_program on links (program_id);
create index if not exists links_partner on links (partner_id);

-- Former codes of a link; they keep resolving.
create table if not exists link_aliases (
    namespace    text         not null,
    code         text         not null,
    link_id      uuid         not null references links,
    created_at   timestamptz  not null default now(),
    primary key (namespace, code)
);

-- A link's former codes, to publish them anew when it changes.
create index if not exists link_aliases_link on link_aliases (link_id);

-- Of which program and partner a link was, and until when: what it counted then stays theirs.
create table if not exists link_moves (
    link_id      uuid         not null references links,
    until        timestamptz  not null default clock_timestamp(),
    program_id   uuid,
    partner_id   uuid
);
create index if not exists link_moves_link on link_moves (link_id, until);

create or replace function link_moved() returns trigger language plpgsql as $$
begin
    insert into link_moves (link_id, program_id, partner_id) values (old.id, old.program_id, old.partner_id);
    return null;
end
$$;
create or replace trigger moves after update of program_id, partner_id on links
    for each row when ((old.program_id, old.partner_id) is distinct from (new.program_id, new.partner_id))
    execute function link_moved();

-- Click ids that another vendor issued and that still come back with leads.
create table if not exists imported_clicks (
    workspace_id   uuid         not null references workspaces,
    token          text         not null,
    click_id       uuid         not null,
    link_id        uuid         not null references links,
    created_at     timestamptz  not null default now(),
    primary key (workspace_id, token)
);


-- Customers ------------------------------------------------------------------------------

-- A customer is its external id within a workspace, else its root click, whose id it has.
-- Rows are never merged: an anonymous customer points at the customer of the earliest lead
-- that names its click. Every field keeps its writer's (event time, id): the latest wins.
create table if not exists customers (
    id             uuid             primary key,
    workspace_id   uuid             not null,
    external_id    text,                                  -- null: anonymous
    status         customer_status  not null default 'click',
    points_to      uuid,
    seen_at        timestamptz      not null,             -- the earliest event that names it
    name           text,
    name_at        timestamptz,
    name_by        uuid,
    email          text,
    email_at       timestamptz,
    email_by       uuid,
    avatar         text,
    avatar_at      timestamptz,
    avatar_by      uuid,
    check (external_id is null or points_to is null)
) with (fillfactor = 90);

-- Set: the person was erased, and the row is under a pseudonym.
alter table customers add column if not exists erased_at timestamptz;

-- A shared id, "undefined" for example: its events name the clicks of more visitors than one
-- person is. Each of its leads is attributed to the click that it names and no other. Of an
-- anonymous customer: leads without an API key name its click for more customers than one
-- visitor is, and connect none of them with the click.
alter table customers add column if not exists is_crowd boolean not null default false;

-- What an API key vouches for outranks what anybody says.
alter table customers
    add column if not exists is_bound_by_key boolean not null default false,    -- an event with a key names a click of it
    add column if not exists points_by_key   boolean not null default false,    -- `points_to` is from an event with a key
    add column if not exists keyed_status    customer_status not null default 'click',   -- by events with a key alone
    add column if not exists name_by_key     boolean not null default true,     -- whether the field is from such an event
    add column if not exists email_by_key    boolean not null default true,
    add column if not exists avatar_by_key   boolean not null default true;

-- Identity, and the order in which writers create customers.
create unique index if not exists customers_external on customers (workspace_id, external_id)
    where external_id is not null;

-- The clicks of a customer, by way of the anonymous customers that point at it.
create index if not exists customers_points_to on customers (points_to)
    where points_to is not null;


-- Events, claims, quarantine -------------------------------------------------------------

-- One row per event. Range-partitioned by its UUIDv7, so that its primary key is exact
-- across time and a replay lands where the event was. There is no default partition:
-- a missing one is made, and the batch tried again.
create table if not exists events (
    id                uuid         not null primary key,
    at                timestamptz  not null,          -- event time
    digest            bigint       not null,          -- of the envelope; breaks ties under one id
    kind              event_kind   not null,
    is_test           boolean      not null,          -- counts nothing
    is_bot            boolean      not null,          -- a click of a bot
    is_duplicate      boolean      not null,          -- a click again within the hour; a lead in whose place another counts
    quantity          integer      not null check (quantity >= 0),
    -- where it was read: the epoch and shard of the stream, and the entry
    epoch             integer      not null,
    shard             smallint     not null,
    entry_seq         integer      not null,
    entry_ms          bigint       not null,
    -- where it belongs
    workspace_id      uuid         not null,
    link_id           uuid,                           -- of a lead: its attribution
    program_id        uuid,
    partner_id        uuid,
    click_id          uuid,                           -- of a click: the root click, if another; of a lead: the click it names
    attributed_id     uuid,                           -- of a lead: the click that earned it
    asked_program_id  uuid,                           -- of a lead: the program that attribution is confined to
    customer_id       uuid,                           -- of a lead: its customer
    api_key_id        uuid,
    -- what was sent
    dialect           text         not null,
    name              text,
    amount            bigint,                         -- minor units
    currency          char(3),
    page_url          text,
    properties        jsonb,
    -- what enrichers found out
    visitor           bytea,                          -- keyed hash
    ip                inet,                           -- only where the operator chose to keep it
    country           char(2),
    region            text,
    city              text,
    device            text,
    os                text,
    browser           text,
    referrer_host     text,
    failed            text[],                         -- enrichers that could not answer
    recorded_at       timestamptz  not null default now()
) partition by range (id);

-- The leads that name a click, those with an API key first: the first one identifies the visitor,
-- and a client may name one click in all its leads.
create index if not exists events_naming on events (click_id, ((api_key_id is null)::int), at, id)
    where kind <> 'click' and click_id is not null;
drop index if exists events_namers;
drop index if exists events_named;

-- The leads of a customer without an API key: few, since one person signs up once.
create index if not exists events_keyless on events (customer_id)
    where kind = 'lead' and api_key_id is null;

-- The clicks that a customer's events name, those with an API key first: few of many, as a rule.
-- Its order by `click_id, id` is one that no other index has.
create index if not exists events_said on events (customer_id, ((api_key_id is null)::int), click_id, id)
    where kind <> 'click' and click_id is not null and not is_test;

-- The leads of a customer since a time: what a late click may change.
create index if not exists events_customers on events (customer_id, at)
    where kind <> 'click';
drop index if exists events_customer;

-- The client's own name of a visit. A lead of the same session and link converts it.
alter table events add column if not exists session text;

-- What a link's sessions came to: nothing but the index is read for it, since a partner may have
-- millions.
create index if not exists events_visited on events (link_id, session)
    include (kind, is_bot, is_duplicate, is_test, quantity, id)
    where session is not null;
drop index if exists events_session;

-- The clicks of a root click other than itself: rare, so the index is small. In the order of
-- attribution, so that the first or last of very many is found at once.
create index if not exists events_visits on events (click_id, at, id)
    where kind = 'click' and click_id is not null;
drop index if exists events_root;

-- Redis counts the entries of a millisecond in 64 bits.
do $$ begin
if exists (select from pg_attribute
            where attrelid = 'events'::regclass and attname = 'entry_seq' and atttypid = 'int4'::regtype) then
    alter table events alter column entry_seq type bigint;
end if; end $$;

-- Major versions, as the user agent gives them.
alter table events
    add column if not exists os_version text,
    add column if not exists browser_version text;

-- Which of the entry's events it was; a former release's entries have one.
alter table events add column if not exists entry_index smallint not null default 0;

-- A lead with an API key that names no click: what connects its customer with the click that
-- earned it has no key.
alter table events add column if not exists is_unverified boolean not null default false;

-- Of a refund: the key of its sale's claim in the scope `sale`, and what is asked back in minor
-- units, negative; null: all that is left. What it takes back follows from its sale, see
-- `refunds_due`.
alter table events
    add column if not exists sale_key bytea check (length(sale_key) = 16),
    add column if not exists asked_amount bigint;

-- The refunds of a sale, in the order in which they take from it.
create index if not exists events_refunds on events (workspace_id, sale_key, at, id)
    where sale_key is not null;

-- What happened or was recorded within a time, on a link, by a partner, in a session: summaries
-- of a megabyte of rows each, which cost writers next to nothing.
create index if not exists events_at on events using brin (at, recorded_at) with (autosummarize = on);
create index if not exists events_link on events using brin (link_id uuid_bloom_ops) with (autosummarize = on);
create index if not exists events_partner on events using brin (partner_id uuid_bloom_ops) with (autosummarize = on);
create index if not exists events_sessions on events using brin (session text_bloom_ops) with (autosummarize = on);

-- The lowest UUIDv7 of a moment: a bound of partitions and of ranges over time.
create or replace function uuid7_floor(moment timestamptz) returns uuid
    language sql immutable strict parallel safe
    as $$
    select rpad(lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
    $$;

-- The moment of a UUIDv7.
create or replace function uuid7_time(id uuid) returns timestamptz
    language sql immutable strict parallel safe
    as $$
    select to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
    $$;

-- Until when a short click id of ours may earn, and edges know it; null: an imported one, for good.
do $$ begin
if not exists (select from pg_attribute where attrelid = 'imported_clicks'::regclass and attname = 'expires_at') then
    alter table imported_clicks add column expires_at timestamptz;
    update imported_clicks click
       set expires_at = uuid7_time(click.click_id)
                        + make_interval(days => coalesce(program.attribution_window_days, 60))
      from links link left join programs program on program.id = link.program_id
     where link.id = click.link_id and click.token ~ '^[0-9A-Za-z]{16}$'
       and substr(click.click_id::text, 15, 1) = '7';
end if; end $$;

-- What is to be deleted, oldest first.
create index if not exists imported_clicks_expiry on imported_clicks (expires_at)
    where expires_at is not null;

-- The latest day (UTC) of an event that an API key vouched for; null: none did. In a database
-- that had no such column, a customer whose events are all detached is taken to have had one.
do $$ begin
if not exists (select from pg_attribute where attrelid = 'customers'::regclass and attname = 'used_on') then
    alter table customers add column used_on date;
    update customers
       set used_on = (used.at at time zone 'UTC')::date
      from (select customer.id,
                   coalesce(max(event.at) filter (where event.api_key_id is not null),
                            case when count(event.id) = 0 then customer.seen_at end) as at
              from customers customer
              left join events event
                on event.customer_id = customer.id and event.kind <> 'click' and not event.is_test
             where customer.external_id is not null
             group by customer.id) as used
     where customers.id = used.id and used.at is not null;
end if; end $$;

-- The key of e-mail addresses; see `ingest/contracts/emails/key.py`. One row, in a table of its
-- own, which dumps can leave out and roles need not read. It never changes.
create table if not exists email_key (
    is_only   boolean  primary key default true check (is_only),
    key       bytea    not null check (length(key) = 32),
    -- where `reftide schema` looks for addresses that 0.1.0 recorded: done, and up to the latest event
    events_reached  uuid  not null default '00000000-0000-0000-0000-000000000000',
    events_end      uuid
);
insert into email_key (key) values (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
on conflict do nothing;

-- An address is in `email_sealed`, encrypted. It is in `email` where the operator chose so, and
-- where an earlier release wrote it, until `reftide schema` has sealed it.
alter table customers
    add column if not exists email_sealed bytea,
    add column if not exists email_hash bytea check (length(email_hash) = 16);

-- The keyed hash of the address that the event came with, whether answers return it or not.
alter table events add column if not exists email_hash bytea;

-- For what a browser loaded the page that it did not show: `prerender` or `prefetch`. Such a
-- click counts as a bot's.
alter table events add column if not exists purpose text;

-- Who has an address.
create index if not exists customers_email on customers (email_hash) where email_hash is not null;
create index if not exists events_email on events (email_hash) where email_hash is not null;

-- Months of events that are detached, or on the way to it: closed first, so that nothing
-- changes any more, then folded into `counter_base` and `ledger_base`, then detached. There
-- is no attached month before one of these. The row outlives the table.
create table if not exists detached_partitions (
    name        text         primary key,                -- of the partition
    since       timestamptz  not null,                   -- from when the ids in it are, and until before
    until       timestamptz  not null,
    is_folded   boolean      not null default false,     -- counted below, and no longer by its rows
    events      bigint,                                  -- rows, once folded
    closed_at   timestamptz  not null default now()
);

-- Ids below it are of months that are detached, or closed for it: nothing of them changes.
create or replace function events_floor() returns uuid
    language sql stable parallel safe
    as $$
    select coalesce(uuid7_floor(max(until)), '00000000-0000-0000-0000-000000000000') from detached_partitions
    $$;

-- Ids below it are counted in `counter_base` and `ledger_base`, attached or not.
create or replace function folded_floor() returns uuid
    language sql stable parallel safe
    as $$
    select coalesce(uuid7_floor(max(until)), '00000000-0000-0000-0000-000000000000')
      from detached_partitions where is_folded
    $$;

-- Make the partition of a moment's month (UTC) if it is missing; say whether it was.
-- Attaching, unlike `partition of`, lets readers and writers go on.
create or replace function make_partition(moment timestamptz) returns boolean
    language plpgsql
    as $$
declare
    first_day   timestamptz := date_trunc('month', moment, 'UTC');
    next_month  timestamptz := date_trunc('month', first_day + interval '32 days', 'UTC');
    partition   text := 'events_' || to_char(first_day at time zone 'UTC', 'YYYYMM');
begin
    perform pg_advisory_xact_lock(hashtext('reftide partition'));
    if exists (select from detached_partitions where until >= next_month)
       or (to_regclass(partition) is not null
           and not exists (select from pg_inherits
                            where inhparent = 'events'::regclass and inhrelid = to_regclass(partition))) then
        raise exception 'the partition % is detached: what happened then is not taken any more', partition
            using errcode = 'check_violation', hint = 'attach it again, or discard such events';
    end if;
    if to_regclass(partition) is not null then
        return false;
    end if;
    execute format('create table %I (like events including defaults including constraints)', partition);
    execute format(
        'alter table events attach partition %I for values from (%L) to (%L)',
        partition, uuid7_floor(first_day), uuid7_floor(next_month));
    return true;
end
$$;

-- On a month that is closed: an event that has a row there is known, a new one is refused for
-- good, and who would change a row is told to look again. Once attached again, it lets pass.
create or replace function keep_closed() returns trigger language plpgsql as $$
declare
    is_known boolean;
begin
    if not exists (select from detached_partitions where name = tg_table_name) then
        return case when tg_op = 'DELETE' then old else new end;
    end if;
    if tg_op <> 'INSERT' then
        raise exception 'the partition % is about to be detached', tg_table_name using errcode = 'object_in_use';
    end if;
    execute format('select exists (select from %I.%I where id = $1)', tg_table_schema, tg_table_name)
       into is_known using new.id;
    if is_known then
        return null;
    end if;
    raise exception 'the partition % is detached: what happened then is not taken any more', tg_table_name
        using errcode = 'check_violation', hint = 'attach it again, or discard such events';
end
$$;

-- Let nothing of a month change any more, from when this commits; say whether that is new.
-- What erasing changes counts nowhere, and may change.
create or replace function close_partition(partition text, since timestamptz, until timestamptz) returns boolean
    language plpgsql
    as $$
begin
    perform pg_advisory_xact_lock(hashtext('reftide partition'));
    insert into detached_partitions (name, since, until) values (partition, since, until) on conflict do nothing;
    if not found then
        return false;
    end if;
    execute format(
        'create or replace trigger keep_closed before insert or delete or update of id, at, kind, is_test, is_bot,'
        ' is_duplicate, quantity, epoch, shard, link_id, program_id, partner_id, amount, currency'
        ' on %I for each row execute function keep_closed()', partition);
    return true;
end
$$;

-- Duplicates of a visitor on a link: one of them may come to open a window.
create index if not exists events_duplicates on events (link_id, visitor, at, id)
    where is_duplicate;

-- The windows of an hour that clicks open: later clicks of the visitor on the link are
-- duplicates as long as one is open (see workers/visits). A row locks the visitor's clicks of a
-- quarter of a day. Swept after 30 days.
create table if not exists visits (
    key       bytea  primary key,   -- the quarter since 1970 (4 bytes), the visitor's hash, the link's id (16)
    windows   bytea  not null       -- of the clicks that open them, in order: Unix milliseconds (8 bytes), id (16)
);

-- The quarter of a day from which clicks are compared. One row. A database that has events
-- already begins with the present one.
create table if not exists visits_since (
    is_only   boolean  primary key default true check (is_only),
    quarter   integer  not null
);
insert into visits_since (quarter)
select case when exists (select from events) then floor(extract(epoch from now()) / 21600)::integer else 1 end
on conflict do nothing;

-- Two events with one key are one event: the least (is_keyless, at, id, digest) has the row.
-- Leads and sales claim for good, idempotency keys until they expire.
create table if not exists claims (
    workspace_id   uuid         not null,
    scope          text         not null,
    key            bytea        not null check (length(key) = 16),
    event_id       uuid         not null,
    at             timestamptz  not null,
    digest         bigint       not null,
    expires_at     timestamptz,
    primary key (workspace_id, scope, key)
);

-- An event with an API key ranks before one without. Holders from before that column keep their place.
alter table claims add column if not exists is_keyless boolean not null default false;

-- What is to be deleted, oldest first; leads and sales never are.
create index if not exists claims_expiry on claims (expires_at)
    where expires_at is not null;

-- The claims of an event whose person is erased.
create index if not exists claims_event on claims (event_id);

-- What the refunds of a sale take back, one after another, until nothing is left of it; they count
-- where the sale counts. No rows while the sale is not recorded, or its month is detached. A sale
-- without an amount has one refund.
create or replace function refunds_due(owner uuid, key bytea)
    returns table (id uuid, customer_id uuid, link_id uuid, program_id uuid, partner_id uuid,
                   quantity integer, amount bigint, currency char(3))
    language sql stable
    as $$
    select refund.id, sale.customer_id, sale.link_id, sale.program_id, sale.partner_id,
           (case when sale.amount > 0 then refund.taken > 0 else sale.quantity > 0 and refund.number = 1 end)::integer,
           -refund.taken::bigint, sale.currency
      from claims
      join events sale on sale.id = claims.event_id and sale.kind = 'sale' and not sale.is_test
     cross join lateral (
            select asked.id, asked.number,
                   least(sale.amount, asked.total) - least(sale.amount, asked.total - asked.own) as taken
              from (select event.id, coalesce(-event.asked_amount, sale.amount)::numeric as own,
                           sum(coalesce(-event.asked_amount, sale.amount)) over earlier as total,
                           row_number() over earlier as number
                      from events event
                     where event.workspace_id = $1 and event.sale_key = $2 and not event.is_test
                    window earlier as (order by event.at, event.id)) as asked
           ) as refund
     where claims.workspace_id = $1 and claims.scope = 'sale' and claims.key = $2
    $$;

-- Ids that lost a claim, and the id that holds it now. A click id once answered keeps
-- resolving. Leads that name a click by its client's own id name such an id as well, a UUIDv8.
create table if not exists event_aliases (
    id         uuid  primary key,
    event_id   uuid  not null
);

-- All ids that stand for one event.
create index if not exists event_aliases_event on event_aliases (event_id);

-- Stream entries that were the same event again.
create table if not exists repeats (
    epoch         integer      not null,
    shard         smallint     not null,
    entry_ms      bigint       not null,
    entry_seq     integer      not null,
    event_id      uuid         not null,                -- the id that the entry carried
    recorded_at   timestamptz  not null default now(),
    primary key (epoch, shard, entry_ms, entry_seq)     -- a redelivered entry counts once
);

-- `reftide event ID`: which entries repeated it.
create index if not exists repeats_event on repeats (event_id);

do $$ begin
if exists (select from pg_attribute
            where attrelid = 'repeats'::regclass and attname = 'entry_seq' and atttypid = 'int4'::regtype) then
    alter table repeats alter column entry_seq type bigint;
end if; end $$;

-- Which of the entry's events it was.
alter table repeats add column if not exists entry_index smallint not null default 0;
do $$ begin
if (select cardinality(conkey) = 4 from pg_constraint
     where conrelid = 'repeats'::regclass and contype = 'p') then
    alter table repeats drop constraint repeats_pkey,
        add primary key (epoch, shard, entry_ms, entry_seq, entry_index);
end if; end $$;

-- Entries that could not be recorded, and why.
create table if not exists quarantine (
    id             bigint             generated always as identity primary key,
    epoch          integer            not null,
    shard          smallint           not null,
    entry_ms       bigint             not null,
    entry_seq      integer            not null,
    event_id       uuid,                              -- null: undecodable
    kind           event_kind,
    dialect        text,
    workspace_id   uuid,
    namespace      text,                              -- of the code that nobody has
    code           text,
    reason         quarantine_reason  not null,
    detail         text               not null default '',
    payload        bytea              not null,       -- the envelope, as it was read
    status         quarantine_status  not null default 'open',
    attempts       integer            not null default 1,
    consumer       text               not null,
    first_seen     timestamptz        not null default now(),
    last_seen      timestamptz        not null default now(),
    unique (epoch, shard, entry_ms, entry_seq)        -- a redelivered entry counts once
);

-- Lists by reason, newest first.
create index if not exists quarantine_open on quarantine (reason, id) where status = 'open';

-- `reftide event ID`.
create index if not exists quarantine_event on quarantine (event_id);

do $$ begin
if exists (select from pg_attribute
            where attrelid = 'quarantine'::regclass and attname = 'entry_seq' and atttypid = 'int4'::regtype) then
    alter table quarantine alter column entry_seq type bigint;
end if; end $$;

-- Which of the entry's events it was.
alter table quarantine
    add column if not exists entry_index smallint not null default 0,
    drop constraint if exists quarantine_epoch_shard_entry_ms_entry_seq_key;
create unique index if not exists quarantine_entry on quarantine (epoch, shard, entry_ms, entry_seq, entry_index);

-- What may let it be placed, named as in `directory_changes` (see workers/waiting.py); when
-- to look whether that is there, where nobody might tell; when to try it again, which a
-- worker that is at it puts off; how often that was begun since it last ended; and by which
-- request of an operator.
alter table quarantine
    add column if not exists waits_for   text[]       not null default '{}',
    add column if not exists look_at     timestamptz,
    add column if not exists redrive_at  timestamptz,
    add column if not exists tries       smallint     not null default 0,
    add column if not exists request     uuid;

-- Entries to redrive by themselves when what they wait for comes.
create index if not exists quarantine_waits on quarantine using gin (waits_for)
    where status = 'open' and waits_for <> '{}';
drop index if exists quarantine_code;

-- What the redrive job has to do, soonest first.
create index if not exists quarantine_look on quarantine (look_at) where look_at is not null;
create index if not exists quarantine_redrive on quarantine (redrive_at) where redrive_at is not null;

-- Earlier releases left these to an operator.
update quarantine set redrive_at = uuid7_time(event_id) - interval '5 minutes'
 where reason = 'future_id' and status = 'open' and redrive_at is null;

-- How far a request is.
create index if not exists quarantine_request on quarantine (request) where request is not null;

-- The link that the envelope names by its id; `code` has the others.
alter table quarantine add column if not exists link_id uuid;

-- The network that it came from without a key, empty if unknown; null: a key vouches for it.
alter table quarantine add column if not exists sender text;

-- How much room what clients cause takes up (see workers/quarantine/budget.py).
create index if not exists quarantine_budget on quarantine (workspace_id)
    where status = 'open'
      and reason in ('unknown_link', 'inactive_link', 'unknown_program', 'unknown_click', 'expired', 'unauthorised');

-- What clients caused beyond that: the entries of a batch, without what they held. They count
-- as quarantined, and are recorded if a replay can place them one day.
create table if not exists quarantine_dropped (
    id           bigint             generated always as identity primary key,
    epoch        integer            not null,
    shard        smallint           not null,
    reason       quarantine_reason  not null,
    first_ms     bigint             not null,           -- of its entries, to be found by
    last_ms      bigint             not null,
    entries      integer            not null,
    entry_ms     bigint[]           not null,           -- with `entry_seq`, the ids of the entries
    entry_seq    bigint[]           not null,
    dropped_at   timestamptz        not null default now()
);
create index if not exists quarantine_dropped_place on quarantine_dropped (epoch, shard, last_ms);

-- With `entry_seq`, which of the entry's events it was; none in a row of a former release.
alter table quarantine_dropped add column if not exists entry_index smallint[] not null default '{}';

create or replace view dropped_entries as
    select id, epoch, shard, each.entry_ms, each.entry_seq, reason, dropped_at,
           coalesce(each.entry_index, 0::smallint) as entry_index
      from quarantine_dropped
     cross join lateral unnest(entry_ms, entry_seq, entry_index) as each (entry_ms, entry_seq, entry_index);

-- Which of these events were dropped, and in which row they stand.
drop function if exists dropped_among(integer[], smallint[], bigint[], bigint[]);
create or replace function dropped_among(
        epochs integer[], shards smallint[], ms bigint[], seqs bigint[], indexes smallint[])
    returns table (id bigint, epoch integer, shard smallint, entry_ms bigint, entry_seq bigint, entry_index smallint,
                   reason quarantine_reason)
    language sql stable
    as $$
    with asked as materialized (
        select * from unnest(epochs, shards, ms, seqs, indexes)
            as asked (epoch, shard, entry_ms, entry_seq, entry_index)
    ), spans as (
        select asked.epoch, asked.shard, min(asked.entry_ms) as first_ms, max(asked.entry_ms) as last_ms
          from asked group by 1, 2
    ), near as materialized (
        select kept.id, kept.epoch, kept.shard, each.entry_ms, each.entry_seq,
               coalesce(each.entry_index, 0::smallint) as entry_index, kept.reason
          from spans join quarantine_dropped kept
            on (kept.epoch, kept.shard) = (spans.epoch, spans.shard)
           and kept.last_ms >= spans.first_ms and kept.first_ms <= spans.last_ms
         cross join lateral unnest(kept.entry_ms, kept.entry_seq, kept.entry_index)
               as each (entry_ms, entry_seq, entry_index)
    )
    select near.*
      from near
     where (near.epoch, near.shard, near.entry_ms, near.entry_seq, near.entry_index) in (select * from asked)
    $$;

-- The actions on entries in quarantine, and who took them. No reference: it outlives the entry.
create table if not exists quarantine_history (
    id              bigint             generated always as identity primary key,
    quarantine_id   bigint             not null,
    at              timestamptz        not null default now(),
    who             text               not null,                -- a worker, or the operator's login
    action          quarantine_action  not null,
    note            text               not null default '',     -- why, or what still refuses it
    before          jsonb              not null default '{}',   -- reason, detail and attempts until then
    payload         bytea                                       -- of an edit: the envelope until then
);

-- `reftide quarantine show`.
create index if not exists quarantine_history_of on quarantine_history (quarantine_id);

-- What came that entries in quarantine wait for, and up to which of them they were told.
create table if not exists quarantine_wakes (
    seq       bigint  generated always as identity primary key,
    ref       text    not null,
    reached   bigint  not null default 0
);


-- Ledger and counters ---------------------------------------------------------------------

-- Every epoch of every shard's stream. An emptied server begins a new one, so its entry ids
-- and counts are never confused with those of the former one.
create table if not exists stream_epochs (
    epoch           integer      generated always as identity primary key,
    shard           smallint     not null,
    entries_added   bigint       not null default 0,    -- as last seen; of the live epoch, Redis is asked
    born_at         timestamptz  not null default now(),
    seen_at         timestamptz  not null default now()
);

-- How many entries each edge says that it appended in an epoch. If a server is lost, this may
-- be more than anybody had counted there.
create table if not exists edge_appends (
    epoch      integer      not null,
    edge       text         not null,
    appended   bigint       not null,
    said_at    timestamptz  not null default now(),
    primary key (epoch, edge)
);

-- How many of the appended events are not the first of their entry.
alter table edge_appends add column if not exists beyond_first bigint not null default 0;

-- A server that is restarted or replaced within an epoch may lack entries that it acknowledged
-- or that were recorded: they vanished. `run` is the last run that was sampled, `run_since` when
-- the one before it was last seen. `is_open`: nobody sampled the streams for a while, and edges may
-- have come and gone.
alter table stream_epochs
    add column if not exists vanished     bigint   not null default 0,
    add column if not exists run          text,
    add column if not exists run_since    timestamptz,
    add column if not exists lost_since   timestamptz,
    add column if not exists is_open      boolean  not null default false;

-- What an edge says that vanished; how many more may have, since it got no answer; and the last
-- run of the server with which it compared what it had appended.
alter table edge_appends
    add column if not exists vanished  bigint  not null default 0,
    add column if not exists unsure    bigint  not null default 0,
    add column if not exists run       text;

-- It appended in the ten seconds before a restart, and was not heard of until the next one.
alter table edge_appends add column if not exists is_open boolean not null default false;

-- The events of vanished entries, as edges name them. They are lost, unless they are recorded from
-- the entry all the same, or come in another one: under their id, or under their dedupe key, if
-- they have one. Then they are settled. All are kept for a week.
create table if not exists vanished_events (
    epoch        integer      not null,
    shard        smallint     not null,
    entry_ms     bigint       not null,
    entry_seq    bigint       not null,
    entry_index  smallint     not null,
    event_id     uuid         not null,
    workspace_id uuid,
    scope        text,
    key          bytea,
    is_settled   boolean      not null default false,
    told_at      timestamptz  not null default now(),
    primary key (epoch, shard, entry_ms, entry_seq, entry_index)
);

-- How many entries edges have named that vanished, also edges that died before they were counted.
alter table stream_epochs add column if not exists named bigint not null default 0;

-- What became of the events, counted in the transaction that settled them. Each consumer has
-- its own rows, so workers never wait for one another here.
create table if not exists ledger (
    epoch         integer   not null,
    shard         smallint  not null,
    consumer      text      not null,
    recorded      bigint    not null default 0,
    repeats       bigint    not null default 0,
    quarantined   bigint    not null default 0,        -- discarded ones included
    primary key (epoch, shard, consumer)
) with (fillfactor = 50);

-- Events that were lost before they were recorded; under the empty consumer.
alter table ledger add column if not exists lost bigint not null default 0;

-- When it last counted something: what workers that are gone counted becomes one row.
alter table ledger add column if not exists counted_at timestamptz not null default now();

-- The ledger counts events. How many of the settled and of the lost ones are not the first of
-- their entry: without them, it counts entries.
alter table ledger
    add column if not exists beyond_first       bigint not null default 0,
    add column if not exists lost_beyond_first  bigint not null default 0;

-- Whether an edge appended to an epoch in the ten seconds before its server lost entries, was
-- restarted, replaced or emptied, and did not ask the next one: nobody knows how much it appended,
-- until an edge that has its log does.
-- Likewise if an edge named entries that vanished and died before it was counted.
create or replace view open_epochs as
    select known.epoch, shard,
           known.is_open
           or exists (select from edge_appends as edge where edge.epoch = known.epoch and edge.is_open)
           or next.epoch is null and named > (select coalesce(sum(edge.vanished), 0) from edge_appends as edge
                                               where edge.epoch = known.epoch)
           or exists (
                select from edge_appends as edge
                 where edge.epoch = known.epoch
                   -- An earlier loss of the epoch is no reason to doubt edges that ended long since.
                   and edge.said_at >= case when next.epoch is null
                                            then greatest(least(run_since, lost_since), run_since - interval '10 minutes')
                                            else seen_at end - interval '10 seconds'
                   and case when next.epoch is null then edge.run <> known.run
                            else edge.run = known.run and next.run <> known.run end
           ) as is_open
      from stream_epochs as known
      left join lateral (
            select epoch, run from stream_epochs as later
             where later.shard = known.shard and later.epoch > known.epoch order by epoch limit 1
           ) as next on true;

-- What epochs lost that ended: what their stream had or edges appended, and the ledger lacks.
create or replace view ended_losses as
    select ended.epoch, ended.shard, missing.entries + missing.beyond_first as true_lost,
           missing.beyond_first as true_beyond
      from stream_epochs as ended
     cross join lateral (
            select coalesce(sum(recorded + repeats + quarantined - beyond_first), 0)::bigint as settled,
                   coalesce(sum(beyond_first), 0)::bigint as settled_beyond
              from ledger where (ledger.epoch, ledger.shard) = (ended.epoch, ended.shard)
           ) as kept
     cross join lateral (
            select coalesce(sum(beyond_first), 0)::bigint as beyond_first
              from edge_appends where edge_appends.epoch = ended.epoch
           ) as appended
     cross join lateral (
            select greatest(entries_added - settled, 0) as entries,
                   case when entries_added > settled
                        -- An entry has at most 64 events.
                        then least(greatest(appended.beyond_first - settled_beyond, 0), 63 * (entries_added - settled))
                        else 0 end as beyond_first
           ) as missing;

-- A link's days (UTC).
create table if not exists link_days (
    link_id            uuid     not null,
    day                date     not null,
    clicks             bigint   not null default 0,
    bot_clicks         bigint   not null default 0,
    duplicate_clicks   bigint   not null default 0,
    leads              bigint   not null default 0,
    sales              bigint   not null default 0,
    primary key (link_id, day)
) with (fillfactor = 50);

alter table link_days
    add column if not exists unique_clicks bigint,
    add column if not exists unverified_leads bigint not null default 0,
    add column if not exists refunds bigint not null default 0;

-- What detached partitions had contributed to the counters.
create table if not exists counter_base (
    link_id            uuid     not null,
    program_id         uuid,
    partner_id         uuid,
    day                date     not null,
    clicks             bigint   not null default 0,
    bot_clicks         bigint   not null default 0,
    duplicate_clicks   bigint   not null default 0,
    leads              bigint   not null default 0,
    sales              bigint   not null default 0
);

-- Sums of different currencies are rows of their own; what has no price is in the row
-- without one. An earlier version's constraint did not tell them apart.
alter table counter_base
    add column if not exists currency char(3),
    add column if not exists amount bigint not null default 0,
    drop constraint if exists counter_base_link_id_program_id_partner_id_day_key;

-- By partition, so that attaching one takes back what detaching it had added. Conversions
-- are leads of a session.
alter table counter_base
    add column if not exists partition text not null default '',
    add column if not exists conversions bigint not null default 0;
drop index if exists counter_base_share;
create unique index if not exists counter_base_shares
    on counter_base (link_id, program_id, partner_id, day, currency, partition) nulls not distinct;

alter table counter_base
    add column if not exists unique_clicks bigint,
    add column if not exists unverified_leads bigint not null default 0,
    add column if not exists refunds bigint not null default 0;

-- How many rows of which epoch of which shard detached partitions hold.
create table if not exists ledger_base (
    partition   text      not null,
    epoch       integer   not null,
    shard       smallint  not null,
    recorded    bigint    not null,
    primary key (partition, epoch, shard)
);

-- How many of them are not the first of their entry.
alter table ledger_base add column if not exists beyond_first bigint not null default 0;

-- What a link's sales are worth.
create table if not exists link_amounts (
    link_id    uuid     not null,
    currency   char(3)  not null,
    amount     bigint   not null default 0,      -- minor units
    primary key (link_id, currency)
) with (fillfactor = 50);

-- The same for a partner's enrolment in a program.
create table if not exists program_partner_amounts (
    program_id   uuid     not null,
    partner_id   uuid     not null,
    currency     char(3)  not null,
    amount       bigint   not null default 0,    -- minor units
    primary key (program_id, partner_id, currency)
) with (fillfactor = 50);

-- What every row adds to the counters: a pure function of the row. It is the counting rule of
-- `workers/counters/rule.py` in SQL; a test and `reftide verify` hold the two together. Test
-- events, which have no link, add to the facets of their workspace alone.
create or replace view every_share as
    select id, link_id, program_id, partner_id, (at at time zone 'UTC')::date as day,
           case when kind = 'click' then quantity else 0 end::bigint                   as clicks,
           case when kind = 'click' and is_bot then quantity else 0 end::bigint        as bot_clicks,
           case when kind = 'click' and is_duplicate then quantity else 0 end::bigint  as duplicate_clicks,
           case when kind = 'lead' and not is_duplicate then quantity else 0 end::bigint  as leads,
           case when kind = 'sale' then quantity else 0 end::bigint                    as sales,
           case when kind = 'sale' or kind::text = 'refund' then currency end          as currency,
           case when (kind = 'sale' or kind::text = 'refund') and currency is not null
                then coalesce(amount, 0) else 0 end::bigint                            as amount,
           case when kind = 'lead' and session is not null and not is_duplicate
                then quantity else 0 end::bigint                                       as conversions,
           case when kind = 'click' and not is_bot and not is_duplicate
                then quantity else 0 end::bigint                                       as unique_clicks,
           case when kind = 'lead' and is_duplicate then quantity else 0 end::bigint   as unverified_leads,
           at, country::text, device,
           case when kind::text = 'refund' then quantity else 0 end::bigint            as refunds,
           is_test, workspace_id, browser, referrer_host, dialect
      from events
     where (link_id is not null or is_test) and kind::text in ('click', 'lead', 'sale', 'refund');

create or replace view shares as
    select id, link_id, program_id, partner_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales,
           currency, amount, conversions, unique_clicks, unverified_leads, at, country, device, refunds
      from every_share where not is_test;

-- Leads without an API key, and whether another lead counts in their place: one that names the
-- same click and has a key or happened before, or one of the same customer with a key. It is
-- the rule of `workers/write/keyless.sql` for all rows at once.
create or replace view keyless_leads as
    with leads as (
        select event.id, event.at, event.workspace_id, event.customer_id, event.is_duplicate,
               coalesce(alias.event_id, event.click_id) as click_id, event.api_key_id is null as is_keyless
          from events event
          left join event_aliases alias on alias.id = event.click_id
         where event.kind = 'lead' and not event.is_test and event.id >= (select events_floor())
    ), ranked as (
        select leads.*,
               leads.click_id is not null
                   and row_number() over (partition by leads.workspace_id, leads.click_id
                                          order by leads.is_keyless, leads.at, leads.id) > 1 as is_later,
               bool_or(not leads.is_keyless) over (partition by leads.customer_id) and not coalesce(customer.is_crowd, false) as is_keyed_too
          from leads left join customers customer on customer.id = leads.customer_id
    )
    select id, is_duplicate, is_later or (customer_id is not null and is_keyed_too) as is_replaced
      from ranked
     where is_keyless;

-- What the counters are the sums of: rows, and what stands for those that are folded.
create or replace view contributions as
    select link_id, program_id, partner_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales,
           currency, amount, unique_clicks, unverified_leads, refunds
      from shares
     where id >= (select folded_floor())
    union all
    select link_id, program_id, partner_id, day, clicks, bot_clicks, duplicate_clicks, leads, sales,
           currency, amount, unique_clicks, unverified_leads, refunds
      from counter_base;

-- The sums of `unique_clicks` in a database that had none. Of a month that is folded they are
-- made from its table, attached or not. Where that is gone, what is left is clicks less bots'
-- and duplicates: too low by the clicks that were both, since those are subtracted twice.
do $$
declare
    month   text;
begin
if (select attnotnull from pg_attribute where attrelid = 'links'::regclass and attname = 'unique_clicks') then
    return;
end if;
for month in select distinct partition from counter_base where to_regclass(partition) is not null loop
    execute format(
        'update counter_base set unique_clicks = coalesce(truth.unique_clicks, 0)'
        '  from counter_base as base'
        '  left join (select link_id, program_id, partner_id, (at at time zone ''UTC'')::date as day,'
        '                    sum(quantity) as unique_clicks'
        '               from %1$I'
        '              where kind = ''click'' and not is_test and not is_bot and not is_duplicate'
        '              group by 1, 2, 3, 4) as truth'
        '    on (truth.link_id, truth.day) = (base.link_id, base.day) and base.currency is null'
        '   and truth.program_id is not distinct from base.program_id'
        '   and truth.partner_id is not distinct from base.partner_id'
        ' where counter_base.ctid = base.ctid and base.partition = %1$L',
        month);
end loop;
update counter_base
   set unique_clicks = greatest(clicks - bot_clicks - duplicate_clicks, 0)
 where unique_clicks is null;
update links
   set unique_clicks = coalesce(truth.unique_clicks, 0)
  from links as every
  left join (select link_id, sum(unique_clicks) as unique_clicks
               from contributions group by link_id) as truth on truth.link_id = every.id
 where links.id = every.id;
update program_partners
   set unique_clicks = coalesce(truth.unique_clicks, 0)
  from program_partners as every
  left join (select program_id, partner_id, sum(unique_clicks) as unique_clicks
               from contributions group by program_id, partner_id) as truth using (program_id, partner_id)
 where (program_partners.program_id, program_partners.partner_id) = (every.program_id, every.partner_id);
update link_days
   set unique_clicks = coalesce(truth.unique_clicks, 0)
  from link_days as every
  left join (select link_id, day, sum(unique_clicks) as unique_clicks
               from contributions group by link_id, day) as truth using (link_id, day)
 where (link_days.link_id, link_days.day) = (every.link_id, every.day);
end $$;
alter table program_partners alter column unique_clicks set default 0, alter column unique_clicks set not null;
alter table links alter column unique_clicks set default 0, alter column unique_clicks set not null;
alter table link_days alter column unique_clicks set default 0, alter column unique_clicks set not null;
alter table counter_base alter column unique_clicks set default 0, alter column unique_clicks set not null;

-- What counted by country, device and the like, in buckets: a bucket has the events whose ids are
-- of its day (UTC), summed up by their own days. Rows of a link, and of all links of a workspace
-- (null). An unknown value is empty; beyond the hundred largest, values are `(other)`. Made anew
-- from the rows by `workers/facets`, whenever a row of the bucket has changed; the buckets of a
-- folded month stay.
do $$ begin
if to_regclass('facets') is not null then
    return;
end if;
create table facets (
    bucket             date     not null,
    workspace_id       uuid     not null,
    link_id            uuid,
    facet              text     not null,
    value              text     not null,
    is_test            boolean  not null,
    day                date     not null,
    clicks             bigint   not null,
    bot_clicks         bigint   not null,
    duplicate_clicks   bigint   not null,
    leads              bigint   not null,
    sales              bigint   not null,
    unique_clicks      bigint   not null,
    unverified_leads   bigint   not null,
    refunds            bigint   not null,
    unique nulls not distinct (bucket, workspace_id, link_id, facet, value, is_test, day)
) with (fillfactor = 70);
create index facets_read on facets (workspace_id, facet, link_id, day);

-- What their sales less refunds are worth, in minor units.
create table facet_amounts (
    bucket             date     not null,
    workspace_id       uuid     not null,
    link_id            uuid,
    facet              text     not null,
    value              text     not null,
    is_test            boolean  not null,
    day                date     not null,
    currency           char(3)  not null,
    amount             bigint   not null,
    unique nulls not distinct (bucket, workspace_id, link_id, facet, value, is_test, day, currency)
);
create index facet_amounts_read on facet_amounts (workspace_id, facet, link_id, day);

-- Buckets of which a row has changed. A batch adds its own marks, so writers never wait here, and
-- a mark is seen exactly when the rows are.
create table dirty (
    seq      bigint       generated always as identity primary key,
    bucket   date         not null,
    at       timestamptz  not null default now()
);

-- When the next bucket may be made. One row.
create table facets_rest (
    is_only   boolean      primary key default true check (is_only),
    until     timestamptz  not null default now()
);
insert into facets_rest default values;

-- Of what is recorded already: every day that there may be, and folded months as one bucket each,
-- without values.
insert into dirty (bucket)
select day::date
  from (select id from events order by id limit 1) as first,
       (select id from events order by id desc limit 1) as last,
       generate_series(date_trunc('day', uuid7_time(first.id), 'UTC'), uuid7_time(last.id), interval '1 day') as day;
with folded as materialized (
    select case when partition ~ '^events_[0-9]{6}$' then to_date(substr(partition, 8), 'YYYYMM')
                else date '0001-01-01' end as bucket, base.*, workspace_id, facet
      from counter_base as base
      join links on links.id = base.link_id
     cross join unnest(array['country', 'device', 'browser', 'referrer', 'dialect']) as facet
), amounts as (
    insert into facet_amounts
    select bucket, workspace_id, link, facet, '', false, day, currency, sum(amount)
      from folded cross join lateral (values (folded.link_id), (null)) as side (link)
     where currency is not null
     group by bucket, workspace_id, link, facet, day, currency
)
insert into facets
select bucket, workspace_id, link, facet, '', false, day, sum(clicks), sum(bot_clicks), sum(duplicate_clicks),
       sum(leads), sum(sales), sum(unique_clicks), sum(unverified_leads), sum(refunds)
  from folded cross join lateral (values (folded.link_id), (null)) as side (link)
 group by bucket, workspace_id, link, facet, day;
end $$;

-- What a database of a former release lacks: customers' standing with API keys, and which
-- leads count in one another's place. Attribution stays until something about it changes.
do $$
begin
if (select attnotnull from pg_attribute where attrelid = 'program_partners'::regclass and attname = 'unverified_leads') then
    return;
end if;
update claims set scope = 'keyless_lead', is_keyless = true
  from events
 where claims.scope = 'lead' and events.id = claims.event_id and events.api_key_id is null;
update customers
   set is_bound_by_key = keyed.is_bound, keyed_status = keyed.status
  from (select customer_id, bool_or(click_id is not null) as is_bound,
               max(case when quantity = 0 or kind = 'deferred' then 'click'
                        when kind = 'lead' then 'lead' else 'customer' end::customer_status) as status
          from events
         where kind in ('lead', 'sale', 'deferred') and api_key_id is not null and not is_test and customer_id is not null
         group by customer_id) as keyed
 where customers.id = keyed.customer_id and customers.external_id is not null;
update customers
   set points_by_key = true
 where points_to is not null
   and exists (select from events
                where click_id = customers.id and kind <> 'click' and api_key_id is not null and not is_test
                  and customer_id = customers.points_to);
with replaced as (
    update events
       set is_duplicate = true
      from keyless_leads
     where events.id = keyless_leads.id and keyless_leads.is_replaced
    returning events.*
), counted as (
    select link_id, program_id, partner_id, (at at time zone 'UTC')::date as day, sum(quantity) as leads
      from replaced where link_id is not null
     group by 1, 2, 3, 4
), of_links as (
    update links
       set leads = links.leads - change.leads, unverified_leads = change.leads
      from (select link_id, sum(leads) as leads from counted group by 1) as change
     where links.id = change.link_id
), of_partners as (
    update program_partners
       set leads = program_partners.leads - change.leads, unverified_leads = change.leads
      from (select program_id, partner_id, sum(leads) as leads from counted group by 1, 2) as change
     where (program_partners.program_id, program_partners.partner_id) = (change.program_id, change.partner_id)
)
update link_days
   set leads = link_days.leads - change.leads, unverified_leads = change.leads
  from (select link_id, day, sum(leads) as leads from counted group by 1, 2) as change
 where (link_days.link_id, link_days.day) = (change.link_id, change.day);
update program_partners set unverified_leads = 0 where unverified_leads is null;
end $$;
alter table program_partners alter column unverified_leads set default 0, alter column unverified_leads set not null;


-- What operators decide --------------------------------------------------------------------

create table if not exists milestones (
    id           uuid         primary key,
    program_id   uuid         not null references programs,
    name         text         not null,
    converts     integer      not null check (converts > 0),    -- how many earn it
    created_at   timestamptz  not null default now(),
    unique (program_id, name)
);

-- A milestone is awarded once, however often its last event is delivered.
create table if not exists awards (
    milestone_id   uuid         not null references milestones,
    partner_id     uuid         not null references partners,
    event_id       uuid         not null,
    awarded_at     timestamptz  not null default now(),
    primary key (milestone_id, partner_id)
);

-- Off until the row is removed.
create table if not exists switches (
    scope        switch_scope  not null,
    subject      text          not null default '',
    reason       text          not null default '',
    created_at   timestamptz   not null default now(),
    primary key (scope, subject)
);

-- Requests a minute, where the dialect's own limit is not to be used.
create table if not exists limits (
    subject      text         primary key,           -- the name of a limit, or an API key's id
    per_minute   integer      not null check (per_minute > 0),
    created_at   timestamptz  not null default now()
);

-- The trail of what was asked for by the control API and in the console: in the transaction that does it. An act
-- that is no transaction is `started` until it is `done` or `failed`.
create table if not exists operations (
    id             bigint       generated always as identity primary key,
    at             timestamptz  not null default now(),
    who            text         not null,
    workspace_id   uuid,                            -- null: the installation's
    what           text         not null,
    arguments      jsonb        not null default '{}',
    result         jsonb        not null default '{}',
    state          text         not null default 'started' check (state in ('started', 'done', 'failed')),
    ended_at       timestamptz
);
create index if not exists operations_workspace on operations (workspace_id, id);

-- Who may use the console: for the whole installation, or for some workspaces only.
create table if not exists console_users (
    id           bigint       generated always as identity primary key,
    name         text         not null unique,
    role         text         not null check (role in ('viewer', 'operator', 'admin')),
    workspaces   uuid[],                            -- null: the whole installation
    password     text,                              -- Argon2id; null: a proxy signs them in
    created_at   timestamptz  not null default now()
);
create table if not exists console_sessions (
    token_hash   bytea        primary key,
    user_id      bigint       not null references console_users on delete cascade,
    expires_at   timestamptz  not null
);
create index if not exists console_sessions_user_id on console_sessions (user_id);

-- Answers of the control API to requests with an Idempotency-Key, for a day: a request that
-- repeats one gets its answer.
create table if not exists control_answers (
    key_id   uuid         not null references api_keys,
    key      text         not null,
    digest   bytea        not null,                 -- of the request
    status   smallint,
    body     bytea,
    etag     text,
    at       timestamptz  not null default now(),
    primary key (key_id, key)
);
create index if not exists control_answers_at on control_answers (at);

-- Pauses of recording until an operator resumes it. One is open at most.
create table if not exists pauses (
    id           bigint       generated always as identity primary key,
    cause        pause_cause  not null,
    detail       text         not null,
    consumer     text         not null,             -- the worker that paused everybody
    paused_at    timestamptz  not null default now(),
    resumed_at   timestamptz,                       -- null: it lasts
    fixed        text         not null default '',  -- what the operator says was the matter
    allowed      integer      not null default 0 check (allowed >= 0)  -- more culprits that a worker may put away
);
create unique index if not exists pauses_open on pauses ((resumed_at is null))
    where resumed_at is null;

create table if not exists replays (
    id            uuid           primary key,
    mode          replay_mode    not null,
    status        replay_status  not null default 'running',
    requested     jsonb          not null,           -- sources, range, filters, rate
    cursors       jsonb          not null default '{}',
    leased_by     text,                              -- the worker at a chunk
    leased_until  timestamptz,
    scanned       bigint         not null default 0,
    inserted      bigint         not null default 0,
    changed       bigint         not null default 0,
    unchanged     bigint         not null default 0,
    created_at    timestamptz    not null default now(),
    finished_at   timestamptz
);

-- Beside what is inserted, changed and unchanged: what could not be recorded, and what is of
-- a time whose partition is detached. Its rate lets the next page begin at `next_at`.
alter table replays
    add column if not exists quarantined bigint not null default 0,
    add column if not exists refused bigint not null default 0,
    add column if not exists next_at timestamptz;

-- Archived entries that could not be read, and the segments that have them or whose index, and
-- so their number, is unreadable.
alter table replays
    add column if not exists damaged           bigint  not null default 0,
    add column if not exists damaged_segments  text[]  not null default '{}';

-- A replay's way through one shard. Every part has a lease of its own, so that all workers
-- share a replay; its holder moves the cursor in the transaction that the page makes.
-- In place of the one lease and the cursors that `replays` had in an earlier version.
create table if not exists replay_parts (
    replay_id      uuid         not null references replays on delete cascade,
    shard          smallint     not null,
    cursor         jsonb,                              -- null: not begun
    read           bigint       not null default 0,    -- entries, matching or not
    expected       bigint       not null default 0,    -- of them, as far as can be foreseen
    is_done        boolean      not null default false,
    leased_by      uuid,
    leased_until   timestamptz,
    primary key (replay_id, shard)
);

-- What is to be done; asked every second.
create index if not exists replay_parts_open on replay_parts (replay_id) where not is_done;


-- Who was erased. The rows stay, under pseudonyms; see workers/erasure.
create table if not exists erasures (
    id              uuid         primary key,
    workspace_id    uuid         not null,
    customer_id     uuid         not null,           -- whose row stays, under a pseudonym
    customers       uuid[]       not null,           -- with those that stand for its clicks
    clicks          uuid[]       not null,           -- its visitors' first clicks
    external_id     text,                            -- until the rows are done: what else has to forget it
    who             text         not null,           -- the operator's login
    note            text         not null default '',
    counts          jsonb        not null default '{}',   -- what was found, by where
    asked_at        timestamptz  not null default now(),
    quarantine_reached bigint    not null default 0,      -- up to which entry quarantine was looked at
    rows_done_at    timestamptz,                     -- PostgreSQL and the directory have nothing more
    streams_done_at timestamptz                      -- nor has Redis
);

-- Earlier releases kept here, in plain text, what is hashed in `suppressions` now.
alter table erasures drop column if exists texts;

-- What is left to be done.
create index if not exists erasures_open on erasures (asked_at) where streams_done_at is null;

-- The events of an erasure that still are as they were. One that came later is not in here:
-- it was recorded under its pseudonym.
create table if not exists erasure_events (
    erasure_id   uuid  not null references erasures on delete cascade,
    event_id     uuid  not null,
    primary key (erasure_id, event_id)
);

-- What is to go from Redis: an entry of a stream, and keys. Gone, it has no row any more.
create table if not exists erasure_leftovers (
    id           bigint     generated always as identity primary key,
    epoch        integer,
    shard        smallint,
    entry_ms     bigint,
    entry_seq    bigint,
    keys         text[]     not null default '{}'
);
create unique index if not exists erasure_leftovers_entry on erasure_leftovers (epoch, shard, entry_ms, entry_seq)
    where epoch is not null;

-- By what an event of an erased person is known: the customer's external id or a visit's
-- session, hashed under the key below, or a click of a root. And by what what is no event is
-- found to name him: the external id and the e-mail, and how each begins, hashed likewise.
create table if not exists suppressions (
    seq            bigint  generated always as identity primary key,
    erasure_id     uuid    not null references erasures on delete cascade,
    workspace_id   uuid    not null,
    hash           bytea   check (length(hash) = 16),
    click_id       uuid,
    check (num_nonnulls(hash, click_id) = 1)
);
create unique index if not exists suppressions_hash on suppressions (workspace_id, hash) where hash is not null;
create unique index if not exists suppressions_click on suppressions (workspace_id, click_id) where click_id is not null;

-- The key of pseudonyms, and a number that is greater whenever the list above was added to. One row.
create table if not exists erasure_key (
    is_only   boolean  primary key default true check (is_only),
    key       bytea    not null check (length(key) = 32),
    version   bigint   not null default 0
);
insert into erasure_key (key) values (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
on conflict do nothing;

-- The version that a writer's transaction has to know. It holds until the transaction ends:
-- an erasure waits for all writers that know an earlier one.
create or replace function suppressions_version() returns bigint language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(hashtext('reftide erasure'));
    -- A statement of its own, which sees what was committed while the lock was waited for.
    return (select version from erasure_key);
end
$$;

-- The archives, and up to which version each was rewritten.
create table if not exists erasure_archives (
    host        text         not null,
    directory   text         not null,
    version     bigint       not null,
    lines       bigint       not null default 0,     -- rewritten, ever
    swept_at    timestamptz  not null default now(),
    primary key (host, directory)
);


-- Publishing to the edges -------------------------------------------------------------------

-- What changed and is not yet published into the directory. Written by the triggers below,
-- no matter which client makes the change, and for what follows from events by the workers, once a batch;
-- emptied by the publisher.
create table if not exists directory_changes (
    seq     bigint  generated always as identity primary key,
    topic   text    not null,     -- see `_PARTS` in workers/publish/publisher.py
    ref     text    not null      -- an id; or a namespace, workspace or program, a space, and a name in it
);

-- By the parts of the directory (`_PARTS` in workers/publish/publisher.py): none waits behind a
-- mass of another's changes.
drop index if exists directory_changes_urgent;
create index if not exists directory_changes_access on directory_changes (seq)
    where topic in ('switch', 'limit', 'key');
create index if not exists directory_changes_links on directory_changes (seq)
    where topic in ('link', 'code', 'partner_link', 'domain', 'program');
create index if not exists directory_changes_customers on directory_changes (seq)
    where topic in ('customer', 'click');
create index if not exists directory_changes_sales on directory_changes (seq)
    where topic in ('sale');
create index if not exists directory_changes_stats on directory_changes (seq)
    where topic in ('stats');

create or replace function link_changed() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        insert into directory_changes (topic, ref)
        values ('code', old.namespace || ' ' || old.code), ('link', old.id::text);
    end if;
    if tg_op <> 'DELETE' then
        insert into directory_changes (topic, ref)
        values ('code', new.namespace || ' ' || new.code), ('link', new.id::text);
    end if;
    -- The former owner's list of links; the new owner is in the link's own record.
    if tg_op <> 'INSERT' and (old.program_id, old.partner_id) is distinct from (new.program_id, new.partner_id) then
        insert into directory_changes (topic, ref)
        select 'partner_link', old.program_id || ' ' || code
          from partners where id = old.partner_id and old.program_id is not null;
    end if;
    insert into directory_changes (topic, ref)
    select 'stats', partners.workspace_id || ' ' || partners.code
      from (select old.program_id, old.partner_id where tg_op <> 'INSERT'
            union select new.program_id, new.partner_id where tg_op <> 'DELETE') as side
      join programs on programs.id = side.program_id and programs.has_stats
      join partners on partners.id = side.partner_id;
    return null;
end
$$;

create or replace function alias_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref)
    select 'code', namespace || ' ' || code
      from (select old.namespace, old.code where tg_op <> 'INSERT'
            union select new.namespace, new.code where tg_op <> 'DELETE') as changed;
    return null;
end
$$;

create or replace function domain_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref)
    values ('domain', case when tg_op = 'DELETE' then old.domain else new.domain end);
    return null;
end
$$;

create or replace function program_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref) values ('program', new.id::text);
    if tg_op = 'UPDATE' and new.has_stats <> old.has_stats then
        insert into directory_changes (topic, ref)
        select distinct 'stats', partners.workspace_id || ' ' || partners.code
          from links join partners on partners.id = links.partner_id
         where links.program_id = new.id;
    end if;
    return null;
end
$$;

create or replace function partner_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref)
    select 'link', id::text from links where partner_id = new.id;
    if new.code <> old.code then
        insert into directory_changes (topic, ref)
        select distinct 'partner_link', program_id || ' ' || old.code
          from links where partner_id = new.id and program_id is not null
        union all
        select 'stats', new.workspace_id || ' ' || code
          from unnest(array[old.code, new.code]) as code;
    end if;
    return null;
end
$$;

create or replace function key_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref)
    values ('key', encode(case when tg_op = 'DELETE' then old.key_hash else new.key_hash end, 'hex'));
    return null;
end
$$;

create or replace function click_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref)
    values ('click', new.workspace_id || ' ' || new.token);
    return null;
end
$$;

-- For tables that are published as one document.
create or replace function document_changed() returns trigger language plpgsql as $$
begin
    insert into directory_changes (topic, ref) values (tg_argv[0], '');
    return null;
end
$$;

-- Counters are not named in any of these, so counting fires nothing.
create or replace trigger directory after insert or delete
    or update of public_id, namespace, code, domain, url, program_id, partner_id, is_active, created_at,
        expires_at, fallback_url, click_param, discount
    on links for each row execute function link_changed();
create or replace trigger directory after insert or update or delete
    on link_aliases for each row execute function alias_changed();
create or replace trigger directory after insert or update or delete
    on domains for each row execute function domain_changed();
create or replace trigger directory after insert or update
    on programs for each row execute function program_changed();
create or replace trigger directory after update of code, name, public_id, image
    on partners for each row execute function partner_changed();
create or replace trigger directory after insert or update or delete
    on api_keys for each row execute function key_changed();
create or replace trigger directory after insert or update
    on imported_clicks for each row execute function click_changed();
create or replace trigger directory after insert or update or delete
    on switches for each statement execute function document_changed('switch');
create or replace trigger directory after insert or update or delete
    on limits for each statement execute function document_changed('limit');


-- Partitions of this month and the two after it; a cron makes the later ones.
select make_partition(now() + months * interval '1 month') from generate_series(0, 2) as months;
