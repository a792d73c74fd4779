# A small world in which a search query has to be learned.
#
# 144 documents are about one condition of one organ, in the words of medicine; questions ask in plain words.  Plain words
# find nothing, so the query has to be translated.  One pair in four is held out: no question of training or warm-up asks
# for it, but its two words occur in other questions.
#
#   jq -nc --arg part corpus|train|heldout|warmup -f world.jq

def organs: [
  ["heart", "cardiac"], ["kidney", "renal"], ["liver", "hepatic"], ["lung", "pulmonary"], ["skin", "dermal"],
  ["bone", "osseous"], ["brain", "cerebral"], ["stomach", "gastric"], ["eye", "ocular"], ["ear", "aural"],
  ["nerve", "neural"], ["womb", "uterine"]];
def conditions: [
  ["swelling", "edema"], ["bleeding", "hemorrhage"], ["scarring", "fibrosis"], ["hardening", "sclerosis"],
  ["wasting", "atrophy"], ["growth", "neoplasm"], ["bruise", "contusion"], ["tear", "rupture"],
  ["clot", "thrombus"], ["weakness", "paresis"], ["blockage", "stenosis"], ["redness", "erythema"]];
def advice: [
  "rest and observation for several days", "a course of tablets taken with meals",
  "imaging before any decision is made", "a small operation under local anaesthesia",
  "regular visits and simple exercise", "a change of diet and less salt"];

def pairs: range(organs | length) as $o | range(conditions | length) as $c
  | {$o, $c, organ: organs[$o], condition: conditions[$c], id: "d\($o * 12 + $c)", held: ((5 * $o + 3 * $c) % 4 == 0)};

def document: {doc_id: .id, text: ("\(.organ[1]) \(.condition[1]): the report on \(.organ[1]) \(.condition[1]) advises "
  + advice[(.o * 7 + .c * 5) % 6] + ", and \(advice[(.o * 3 + .c + 1) % 6]).")};

def question($i): [
  "what helps against \(.condition[0]) of the \(.organ[0])?",
  "my \(.organ[0]) shows \(.condition[0]), what now?",
  "is \(.condition[0]) in the \(.organ[0]) dangerous?"][$i] + "\nquery:";

def asked($i): {query_id: "q\(.o * 12 + .c)-\($i)", query: question($i), relevant_doc_ids: [.id]};

# The warm-up shows the form of a query and many words, right and wrong alike: each of its two words is a translation one
# time in five, the plain word three times, and else another organ or condition.
def warm($i; $k): (.o * 31 + .c * 17 + $i * 7 + $k * 13) as $x
  | def word($own; $all; $y): if $y % 5 < 1 then $own[1] elif $y % 5 < 4 then $own[0] else $all[$y % 12][1] end;
    {prompt: question($i), completion: " \(word(.organ; organs; $x)) \(word(.condition; conditions; $x * 3 + $k * 2 + 1))"};

if $part == "corpus" then pairs | document
elif $part == "train" then pairs | select(.held | not) | asked(range(3))
elif $part == "heldout" then pairs | select(.held) | asked(range(3))
elif $part == "warmup" then pairs | select(.held | not) | warm(range(3); range(5))
else error("part is corpus, train, heldout or warmup") end
