-- What a report could not tell, and how probable each cause is: kept with it, in codes and numbers; pages have the words.
alter table area_report
    add column limits             jsonb not null default '[]',
    add column cause_probability  jsonb not null default '{}';
comment on column area_report.limits is 'what could not be told, the gravest first: [{"code": …, "numbers": {name: value}}]; empty: nothing lacks, or made before these were kept';
comment on column area_report.cause_probability is 'cause to its probability, 0..1; empty: not computable, or made before these were kept';
