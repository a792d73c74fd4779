# What a model is asked, by five published projects; each takes a record and gives a text.  Marks, slots and their order are the
# projects', since models and parsers depend on them; where the heading does not say "as it is", the words are ours.
#
#   jq -c -L pipelines/lib 'include "prompts"; .prompt = babilong_prompt' samples.jsonl | rl-generate -s run.lmdb
include "text";
include "draw";

# A template with each {name} replaced by $slots.name, once: what is put in is not looked at again; other braces stay.
def fill($slots): split("{") | .[0] + ([.[1:][] | (split("}")[0] // "") as $name | ($name | length) as $n
  | if $n < length and ($slots | has($name)) then $slots[$name] + .[$n + 1:] else "{" + . end] | add // "");
def asked: .query // .question;

# ---- chat headers, as they are: what stands before the user's words, and between them and the answer ----
# rl-generate makes special tokens of their marks.  plain is without any.
def chat_headers: {
  plain: {user_header: "", generation_header: "\n"},
  llama3: {user_header: "<|start_header_id|>user<|end_header_id|>\n\n",
    generation_header: "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
  phi3: {user_header: "<|user|>\n", generation_header: "<|end|>\n<|assistant|>\n"},
  chatml: {user_header: "<|im_start|>user\n", generation_header: "<|im_end|>\n<|im_start|>assistant\n"}};

# ---- Writing in the Margins: four templates ----
# The context stands in a code fence that system_message opens.  Files of that project's form take the place of ours:
# jq --rawfile t extractive_summary.txt '... margin_templates + {extractive_summary: $t}'.
def margin_templates: {
  system_message: "{user_header}\n```",
  extractive_summary: ("```\nCopy from the context above whatever helps to answer the query \"{query}\". Where nothing in it does, "
    + "answer \"I don't know.\"{generation_header}"),
  classification: ("{user_header}\nA piece of a document was read with the query \"{query}\" in mind. What the reader noted:\n"
    + "```text\n{answer}\n```\nIs the note worth keeping?\n- YES where it says something about the query.\n"
    + "- NO where it says that the piece has nothing to do with it.\n\nAnswer in the form <YES/NO>#<Explanation>, for example:\n\n"
    + "YES#The note names the place that is asked for.\nNO#The note says that the piece is about something else.\n\n"
    + "Write nothing before or behind it.\n{generation_header}"),
  final_answer: "```\n{margins}\n{query}\n{generation_header}"};

# The note on a segment, which is its text; after rl-chunk --cumulative the text is all up to there, as in the project.
def margin_prompt($templates; $headers): ($headers + {query: asked}) as $slots
  | ($templates.system_message | fill($slots)) + .text + ($templates.extractive_summary | fill($slots));
# Is the note, the record's completion, worth keeping?  is_relevant of margins.jq reads the answer.
def margin_check_prompt($templates; $headers): ($headers + {query: asked, answer: .completion}) as $slots
  | $templates.classification | fill($slots);
# The answer from the context and the notes that were kept, .margins, one directly behind another.
def margin_answer_prompt($templates; $headers): ($headers + {query: asked, margins: (.margins // [] | add // "")}) as $slots
  | ($templates.system_message | fill($slots)) + .context + ($templates.final_answer | fill($slots));
# A judge's rating of a note from 0 to 10; quality_score of margins.jq reads it.
def margin_judge_prompt: "Query: \(asked)\nMargin: \(.completion)\n\nFrom 0 to 10, how much does the margin say that bears on the query, "
  + "and how little besides? Give the number, then one sentence that explains it.\n";

# ---- BABILong: instruction, examples, form of the answer, context and question, a blank line between them ----
def babilong_prompt($instruction; $examples; $form):
  [$instruction, $examples, $form, "<context>\n\(.context)\n</context>\n\nQuestion: \(asked)"] | map(select(. != "")) | join("\n\n");
# Of tasks 1 to 5, with our words and examples.
def babilong_prompt:
  {qa1: {about: "where people are", form: "The most recent location of 'person' is 'location'.", examples: [
     ["Daniel walked to the cellar. Julie ran to the attic.", "Where is Julie?", "The most recent location of 'Julie' is 'attic'."],
     ["Fred went to the cellar. Fred went to the attic.", "Where is Fred?", "The most recent location of 'Fred' is 'attic'."]]},
   qa2: {about: "where people are and what they carry", form: "The 'item' is in 'location'.", examples: [
     ["Julie took the lamp. Julie went to the attic.", "Where is the lamp?", "The 'lamp' is in 'attic'."]]},
   qa3: {about: "where people are and what they carry", form: "Before the $location_1$ the $item$ was in the $location_2$.", examples: [
     ["Fred took the lamp. Fred went to the attic. Fred went to the cellar.", "Where was the lamp before the cellar?",
      "Before the $cellar$ the $lamp$ was in the $attic$."]]},
   qa4: {about: "which place lies where", form: "one word, the place", examples: [
     ["The attic is north of the cellar.", "What is north of the cellar?", "attic"]]},
   qa5: {about: "who gave what to whom", form: "one word, who or what is asked for", examples: [
     ["Julie gave the lamp to Fred.", "Who gave the lamp?", "Julie"]]}}[.task // "qa1"] as $task
  | if $task == null then error("no prompt for task '\(.task)': give instruction, examples and form") else . end
  | babilong_prompt("Facts about \($task.about) are hidden in a text about other things. Answer the question from these facts alone; "
      + "of facts that disagree the latest holds.";
      ($task.examples | map("<example>\n\(.[0]) \(.[1])\nAnswer: \(.[2])\n</example>") | join("\n"));
      "Always answer in this form: \($task.form)");

# ---- attention-guided choice of pairs: .rounds, [{query, key, value}] so far; marks as they are, spaces and all ----
def attention_introduction: "You choose in which order you are taught. Write a short query in plain words; of a set of keys from one "
  + "article those that resemble it come first. The aim is to foresee the values, the article's words that follow each key, over all rounds. ";
def attention_rounds: [.rounds[]? | " Query: \(.query) Key: \(.key) Value: \(.value)"] | add // "";
def attention_query_prompt: attention_introduction + attention_rounds + " Query: ";
# What the value of a pair is foreseen from: all rounds before, the query of this one and the key (.query, .key).
def attention_value_prompt: attention_query_prompt + "\(.query) Key: \(.key) Value: ";

# ---- search queries ----
# Of a question in four parts, .pico: {P, I, C, O}; as it is.
def pico_prompt: .pico | "Create a PubMed Boolean search query based on the following context:\n\nPatient: \(.P)\nIntervention: \(.I)\n"
  + "Comparison: \(.C)\nOutcome: \(.O)\n\nBoolean query:";
# Of any question, with thoughts first; answer_query of queries.jq reads the query, answer_format whether it has the form.
def rewrite_prompt: "Write a search query that finds documents which answer the question. Think between <think> and </think>, then give "
  + "the query between <answer> and </answer> as JSON: {\"query\": \"...\"}.\n\nQuestion: \(asked)\nAssistant:";

# ---- dialogues about films ----
# Of a review, as it is: {movie_name, entities, relations: [[entity, relation]], first_sentence}; what is absent is left out.
def film_prompt($eos): .movie_name as $name
  | [(.movie_name | values | "Movie Name: \(.)"), (.entities | values | "Related Entities: \(join(", "))"),
     (.relations | values | "Related Knowledge from KG: \(map("\($name)'s \(.[1]) is \(.[0])") | join(", "))"),
     (.first_sentence | values | "First Sentence: \(.)")] | join($eos);
# Of a dialogue (responses of shapes.jq): each turn ends as DialoGPT's do.
def turns_prompt($eos): .context | map(. + $eos) | add // "";
# What a critic reads of an answer, as it is.
def critic_prompt: "Context: \(.context | if type == "array" then join(" ") else . end) Response: \(.completion)";

# ---- beginnings of texts ----
# Of a record with tokens (rl-tokenize) the first, as many as are drawn from $low to $high: .prompt_tokens.
def beginning($seed; $low; $high): .tokens[:$low + draw($seed; .id; $high - $low + 1)];
