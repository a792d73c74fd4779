# Pseudo-queries out of documents: jq -sc -f pseudo.jq corpus.jsonl
#
# Two content words of a sentence of a document stand for somebody's query; the document is what it looks for, and the document's
# most characteristic words (tf * idf) that are not in the query are what should be added to it.  Content words have three
# letters and are in at most one document of ten; those of a query in ten documents at least.

def words: ascii_downcase | explode
  | map(if (. >= 97 and . <= 122) or (. >= 48 and . <= 57) then . else 32 end) | implode | split(" ") | map(select(length > 2));

# How often each word comes; setpath, since += copies the object every time.
def counts: reduce .[] as $w ({}; setpath([$w]; .[$w] + 1));

length as $n
| map({id: .doc_id, sentence: (.text | split(" . ") | map(words))} | .word = (.sentence | add // [])) as $docs
| ($docs | map(.word | unique[]) | counts) as $df
| def content: map(select($df[.] <= $n / 10));
  def common: map(select($df[.] >= 10));
  $docs[] | .id as $id
| (.word | content | counts) as $tf
| ($tf | to_entries | map(.score = .value * (($n / $df[.key]) | log)) | sort_by(-.score, .key) | map(.key)) as $best
| [.sentence[] | content | common | unique | select(length >= 3)][:6][] as $s
| ([range(0; $s | length; 3)] | map($s[.])[:2]) as $query
| {query_id: $id, query: ($query | join(" ")), relevant_doc_ids: [$id],
   add: ([$best[] | select(. as $w | $query | index($w) | not)][:5] | join(" "))}
