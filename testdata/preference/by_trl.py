"""What TRL makes of pairs.jsonl: python by_trl.py MODEL_DIRECTORY pairs.jsonl dpo|ipo|reward OUT.jsonl

Four steps of batches of four pairs in their order, AdamW at a constant learning rate of 1e-3, clipping at 1, float32 on
the CPU.  The model works on ids alone; a tokenizer of words "t0.", "t1.", ... lets TRL read them as texts.
"""
import json
import sys
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

directory, pairs, method, out = sys.argv[1:]
rows = [json.loads(line) for line in open(pairs)]
vocabulary = json.load(open(directory + "/config.json"))["vocab_size"]
words = Tokenizer(models.WordLevel({f"t{i}.": i for i in range(vocabulary)}, unk_token="t0."))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
# TRL ends each answer with EOS: it is taken off here and comes back so
eos = rows[0]["chosen"][-1]
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=f"t{eos}.", pad_token="t0.")


def text(ids):
    return " ".join(f"t{i}." for i in ids)


def answer(ids):
    assert ids[-1] == eos
    return " " + text(ids[:-1]) + " "


data = [{"prompt": text(r["prompt_tokens"]), "chosen": answer(r["chosen"]), "rejected": answer(r["rejected"])} for r in rows]
common = dict(
    output_dir=tempfile.mkdtemp(), per_device_train_batch_size=4, max_steps=4, learning_rate=1e-3, lr_scheduler_type="constant",
    warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, report_to=[], use_cpu=True, bf16=False, fp16=False,
    gradient_checkpointing=False, save_strategy="no", seed=1, disable_tqdm=True, optim="adamw_torch", max_length=None,
    dataset_num_proc=None)
losses, lines = [], []


def recording(base):
    class Recorder(base):
        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

        def compute_loss(self, model, inputs, *args, **kwargs):
            if not losses:
                lens = inputs["attention_mask"].sum(1).tolist()
                n = len(lens) // 2
                for i in range(n):
                    for side, at in (("chosen", i), ("rejected", n + i)):
                        ids = inputs["input_ids"][at][: lens[at]].tolist()
                        assert ids == rows[i]["prompt_tokens"] + rows[i][side], (ids, rows[i])
            loss = super().compute_loss(model, inputs, *args, **kwargs)
            losses.append((loss[0] if isinstance(loss, tuple) else loss).item())
            return loss

        def log(self, logs, *args, **kwargs):
            if "grad_norm" in logs:
                names = {"reward": ("accuracy", "margin", "min_reward", "mean_reward", "max_reward")}.get(method, (
                    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"))
                line = {"loss": losses[-1], "grad_norm": float(logs["grad_norm"])}
                line.update({k: sum(v) / len(v) for k, v in self._metrics["train"].items() if k in names})
                lines.append(line)
            super().log(logs, *args, **kwargs)

    return Recorder


torch.set_num_threads(1)
if method == "reward":
    model = LlamaForSequenceClassification.from_pretrained(directory, num_labels=1, dtype=torch.float32)
    torch.nn.init.zeros_(model.score.weight)
    model.config.pad_token_id = 0
    data = [{"chosen": r["prompt"] + r["chosen"], "rejected": r["prompt"] + r["rejected"]} for r in data]
    trainer = recording(RewardTrainer)(
        model=model, args=RewardConfig(**common, disable_dropout=True), train_dataset=Dataset.from_list(data), processing_class=tokenizer)
else:
    load = lambda: AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    loss = {"dpo": "sigmoid"}.get(method, method)
    trainer = recording(DPOTrainer)(
        model=load(), ref_model=load(), args=DPOConfig(**common, beta=0.1, loss_type=[loss]), train_dataset=Dataset.from_list(data),
        processing_class=tokenizer)
trainer.train()
with open(out, "w") as f:
    for line in lines:
        print(json.dumps(line), file=f)
