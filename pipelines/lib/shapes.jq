# Readers: data as others publish it, to records.
#
#   jq -nRc -L pipelines/lib 'include "shapes"; babi' qa1_single-supporting-fact_test.txt
#   zcat nq-open-oracle.jsonl.gz | jq -nc -L pipelines/lib 'include "shapes"; nq_open'
#   unzip -c movie_reviews.zip | jq -nRc -L pipelines/lib 'include "shapes"; movie_reviews'
#
# Each reads all the input there is: of jq -n where it is JSON, of jq -nR where it is lines.  README.md has the command of
# each shape and the fields that it gives.  `id` is the source's, else file and number; where a text is cut, `support` are
# indices into `sentences`, and positions count code points.  What is not of the shape is an error, with jq's exit status 5.
include "text";

# ---- what they share ----

def stem: input_filename // "" | if startswith("/dev/") then "" else split("/") | (.[-1] // "") | sub("[.][^.]*$"; "") end;
# What of the file's name the pattern matches, as {name: it}; else nothing.
def named($name; $pattern): [input_filename // "" | match($pattern).string] | if . == [] then {} else {($name): .[0]} end;
# "file/3" for the third record of a file, else "3"; a record that has an id keeps it.
def numbered(records): foreach records as $r ({file: "", n: 0};
    stem as $file | if .file == $file then .n += 1 else {file: $file, n: 1} end;
    {id: "\(.file | if . == "" then . else . + "/" end)\(.n)"} + $r);
def elements: inputs | if type == "array" then .[] else . end;
def present: with_entries(select(.value != null and .value != ""));
def first_id: [._id, .id, .query_id, .doc_id] | map(select(. != null)) | .[0] | tostring;

# jq 1.6 -R reads 4095 bytes at a time, and makes U+FFFD of a character that lies across: such a line is refused.
def whole: split("\ufffd") as $parts
  | if ($parts | length) == 1 then .
    elif any(range(1; $parts | length); . as $i | $parts[:$i] | join("\ufffd") | utf8bytelength % 4095 >= 4092)
    then error("a character at byte 4095 of a line may have been lost by jq -R; give it lines as JSON strings, see README.md")
    else . end;
def lines: inputs | whole | rtrimstr("\r");
def columns: split(" ")[] | split("\t")[] | select(. != "");
# (Not by try: that of jq 1.6 also catches what comes after it.)
def number($what): if test("^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$") then tonumber
  else error("\($what) is '\(.)', which is no number") end;

# ---- questions about texts ----

# bAbI: {id, task, sentences, context, question, target, answers, support, facts}; one record a question.
def babi:
  def index_of($n): . as $numbers | ($n | number("a supporting line")) as $n
    | $numbers | index($n) // error("supporting line \($n) is none of the story's statements");
  foreach lines as $line ({story: 0};
    ($line | index(" ") // error("'\($line)' has no number in front")) as $i
    | ($line[:$i] | number("the number in front")) as $n
    | ($line[$i + 1:] | split("\t")) as $parts
    | (if $n == 1 then {story: (.story + 1), numbers: [], sentences: []} else . end) | .record = null
    | if .story == 0 then error("the first line has number \($n), expected 1")
      elif ($parts | length) == 1 then .numbers += [$n] | .sentences += [$parts[0] | strip]
      elif ($parts | length) == 3 then
        (.numbers as $numbers | [$parts[2] | columns as $s | $numbers | index_of($s)]) as $support
        | .record = ({id: "\(stem)/\(.story)/\($n)"} + named("task"; "qa[0-9]+")
            + {sentences, context: (.sentences | join(" ")), question: ($parts[0] | strip), target: $parts[1],
               answers: [$parts[1]], $support, facts: (.sentences as $all | $support | map($all[.]))})
      else error("a question has \($parts | length) parts between tabs, expected 3") end;
    .record | select(.));

# BABILong, and the samples of Writing in the Margins: {id, task, length, context, question, target, answers}.
def babilong: numbered(elements
  | named("task"; "qa[0-9]+") + named("length"; "[0-9]+[kM]")
    + {context: (.context // .input), question: (.question // .query | strip), target, answers: [.target]});

# HotpotQA and what has its form (2WikiMultihopQA, MuSiQue's conversions), as published or as on Hugging Face:
# {id, context, question, answers, sentences, support, titles, facts}; titles[i] is that of sentences[i], facts are the titles
# of what supports the answer, each once.
def hotpotqa: numbered(elements
  | (.context | if type == "object" then [.title, .sentences] | transpose else . end) as $articles
  | (.supporting_facts | if type == "object" then [.title, .sent_id] | transpose else . end) as $supporting
  | [$articles[] | .[0] as $title | .[1] | to_entries[] | {$title, place: .key, text: .value}] as $all
  | ({id: (._id // .id), answers: [.answer]} | present)
    + {context: ($all | map(.text | strip) | join(" ")), question, sentences: ($all | map(.text)),
       support: [range($all | length) as $i | select(any($supporting[]; . == [$all[$i].title, $all[$i].place])) | $i],
       titles: ($all | map(.title)), facts: (reduce $supporting[] as $s ([]; if index($s[0]) then . else . + [$s[0]] end))});

# SQuAD, as published or as on Hugging Face: {id, title, context, question, answers, starts, impossible}; answers[i] begins
# at starts[i].
def squad:
  def answers: if type == "object" then {answers: .text, starts: .answer_start}
    else {answers: map(.text), starts: map(.answer_start)} end;
  elements
  | if has("data") then .data[] | .title as $title | .paragraphs[] | .context as $context | .qas[] | . + {$title, $context} else . end
  | {id, title, context, question} + (.answers | answers) + (if .is_impossible then {impossible: true} else {} end);

# Lost in the Middle.  Documents: {id, question, answers, context, documents, gold}; gold is the index of the one with the answer.
def nq_open: numbered(inputs
  | {question, answers, documents: (.ctxs | map({title, text})), gold: ([.ctxs[].isgold] | index(true))}
  | .context = (.documents | to_entries | map("Document [\(.key + 1)](Title: \(.value.title)) \(.value.text)") | join("\n")));
# Keys and values: {id, question (the key), answers, context (a JSON object, a pair on each line), gold}.
def kv_retrieval: numbered(inputs
  | {question: .key, answers: [.value], gold: (.key as $key | .ordered_kv_records | map(.[0]) | index($key)),
     context: ("{" + (.ordered_kv_records | map("\(.[0] | tojson): \(.[1] | tojson)") | join(",\n ")) + "}")});

# ---- collections for search ----

# BEIR's corpus.jsonl and the like: {id, title, text}, which rl-index reads.
def corpus: elements | {id: first_id, title, text: (.text // .contents)} | {id, text} + present;
# BEIR's queries.jsonl and the like: {id, query, relevant_doc_ids}.
def queries: elements | {id: first_id, query: (.query // .text)} + ({relevant_doc_ids} | present);
# The same with the judgements of a qrels file, out of judgements below: relevant_doc_ids is [{id, grade}, ...].
def queries($judgements): queries | .relevant_doc_ids = ($judgements[.id] // []);

# trec_eval's columns, and BEIR's with its header: {query_id, doc_id, grade}.
def qrels: lines | select(startswith("#") or startswith("query-id") | not) | [columns]
  | if length == 4 then {query_id: .[0], doc_id: .[2], grade: (.[3] | number("the grade"))}
    elif length == 3 then {query_id: .[0], doc_id: .[1], grade: (.[2] | number("the grade"))}
    else error("judgements have 4 columns, BEIR's 3, this line \(length)") end;
# Of a stream of such records an object, query to documents: jq -nRc '[qrels] | judgements'.
def judgements: reduce .[] as $j ({}; .[$j.query_id] += [{id: $j.doc_id, grade: $j.grade}]);
# A run: {query_id, doc_id, rank, score, tag}; what stands behind the tag is left out.
def trec_run: lines | select(startswith("#") | not) | [columns]
  | if length < 6 then error("a run has 6 columns, this line \(length)") else . end
  | {query_id: .[0], doc_id: .[2], rank: (.[3] | number("the rank")), score: (.[4] | number("the score")), tag: .[5]};
# Preferences: {query_id, judge, part, doc_id, grade}.
def trec_prefs: lines | select(startswith("#") | not) | [columns]
  | if length != 5 then error("preferences have 5 columns, this line \(length)") else . end
  | {query_id: .[0], judge: .[1], part: .[2], doc_id: .[3], grade: (.[4] | number("the grade"))};

def unescaped: reduce (["&lt;", "<"], ["&gt;", ">"], ["&quot;", "\""], ["&apos;", "'"], ["&amp;", "&"]) as [$name, $mark]
  (.; if holds($name) then split($name) | join($mark) else . end);
# TREC's topics: {id, query (the title), description, narrative}.
def trec_topics:
  def after($name): strip | ltrimstr($name) | words | join(" ") | unescaped;
  [lines] | join("\n") | split("<top>")[1:][] | split("</top>")[0]
  | [split("<")[1:][] | split(">") | {(.[0]): (.[1:] | join(">"))}] | add
  | {id: (.num | after("Number:")), query: (.title | after("Topic:")), description: (.desc // "" | after("Description:")),
     narrative: (.narr // "" | after("Narrative:"))} | present;
# WMT's sets in SGML: {id, doc, text}; a segment is in one line.
def wmt: foreach lines as $line ({};
    if $line | test("^ *<doc ") then {doc: ($line | capture("docid=\"(?<id>[^\"]*)\"").id)}
    elif $line | test("^ *<seg ") then
      .seg = ($line | capture("<seg id=\"(?<id>[^\"]*)\">(?<text>.*)</seg>") // error("a segment does not end in its line"))
    else .seg = null end;
    .doc as $doc | .seg | select(.) | {id: "\($doc)/\(.id)", $doc, text: (.text | strip | unescaped)});

# ---- dialogues: {id, messages: [{role, content, ...}]}; who recommends is the assistant ----

# ReDial as annotated in IARD (acts: intents), and as published (JSON Lines; @123 stands for a film, whose names are in movies).
def redial: elements
  | if has("conversation") then {id: .conversation_id, messages: (.conversation | map(
      {role: (if .participant == "AGENT" then "assistant" else "user" end), content: .utterance, acts: (.dialogue_acts | map(.intent))}))}
    else .respondentWorkerId as $assistant | {id: .conversationId, messages: (.messages | map(
      {role: (if .senderWorkerId == $assistant then "assistant" else "user" end), content: .text})), movies: .movieMentions} end;
# INSPIRED as UniCRS has it, an array of turns on each line.
def inspired: numbered(inputs | {messages: map(
  {role: (if .role == "RECOMMENDER" then "assistant" else "user" end), content: .text}
    + (if .movie == [] then {} else {movies: .movie} end))});
# Of a dialogue a record for each answer of the assistant: {id, dialogue, context: [what was said before], references}.
def responses: .id as $id | .messages as $all | range($all | length) as $i | $all[$i] | select(.role == "assistant" and $i > 0)
  | {id: "\($id)/\($i)", dialogue: $id, context: ($all[:$i] | map(.content)), references: [.content]} + ({movies} | present);

# Twenty questions: {id, object, pairs: [{key, value}]}.
def twenty_questions: numbered(inputs | .questions as $questions | .data[] | {object,
  pairs: ([$questions, .answers] | transpose | map({key: .[0], value: .[1]}))});

# ---- texts ----

# A text on each line: {id, text}.
def texts: numbered(lines | {text: .});
# The same of files that are named for their label, rt-polarity.pos: {id, text, label}.
def labelled: numbered(lines | {text: ., label: (input_filename // error("the label is the end of a file's name") | split(".")[-1])})
  | .id = "\(.label)/\(.id | split("/")[-1])";
# VADER's ratings, id, mean and text between tabs: {id, rating, text}.
def rated: lines | split("\t")
  | if length < 3 then error("a rating has 3 parts between tabs, this line \(length)") else . end
  | {id: .[0], rating: (.[1] | number("the rating")), text: (.[2:] | join("\t"))};
# The members of a zip file that are in a folder of a folder, as unzip -c prints them: {id, text, label}, label being the folder.
def movie_reviews:
  def member: capture("^ *(inflating|extracting): (?<path>.*\\S) *$").path;
  def record: if .path then {id: (.path | split("/") | .[-2:] | join("/") | sub("[.]txt$"; "")),
    text: (.lines[:-1] | map(. + "\n") | add // ""), label: (.path | split("/")[-2])} else null end;
  foreach ((inputs | whole), null) as $line ({};
    if $line == null then {done: record}
    elif $line | startswith("  inflating: ") or startswith(" extracting: ") or startswith("Archive: ") then
      {done: record} + {path: ([$line | member | select(split("/") | length > 2 and .[-1] != "")][0]), lines: []}
    else .done = null | .lines += [$line] end;
    .done | select(.));
# WikiText's articles: {id, title, text}.
def wikitext:
  def heading: test("^ = [^=](.*[^=])? = $");
  def record: if .title then {title, text: (.lines | map(. + "\n") | add // "")} else null end;
  numbered(foreach ((inputs | whole), null) as $line ({blank: true};
    if $line == null then {done: record}
    elif .blank and ($line | heading) then {done: record} + {title: $line[3:-3], lines: []}
    else .done = null | .lines += [$line] | .blank = ($line | test("^ *$")) end;
    .done | select(.)));
# Plays: {id, speaker, text}; a speech begins with its speaker on a line of his own, and a blank line ends it.
def speeches: numbered(foreach (lines, "") as $line ({said: []};
    if $line == "" then {done: .said, said: []} else .done = [] | .said += [$line] end;
    .done | select(. != [])
    | if .[0] | endswith(":") | not then error("a speech begins with '\(.[0])', which ends in no colon") else . end
    | {speaker: .[0][:-1], text: (.[1:] | join("\n"))}));
# Texts beside what they should have been: {id, completion, references}.
def hypotheses: numbered(elements | {completion: .hyp, references: ([.ref // .refs] | flatten)});
