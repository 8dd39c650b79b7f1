#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Gates by hand. One datum, x = 1, label 1; branches a x = 2 and b x = -1; the gate open = sigmoid(s x) with s = 0 is 1/2. So
# y = 1/2, the loss y^2 / 2 has dy = 1/2, and da = db = dy / 2 = 1/4, dopen = dy (2 + 1) = 3/2, ds = dopen / 4 = 3/8. The gate's
# own loss against t is the cross entropy, whose ds is 1/2 - t. Each from the machine and from the interpreter.
. "$(dirname "$0")/../lib/cli.sh"
. "$ROUTEC_ROOT/tests/lib/train.sh"
echo 1,1 >one.csv
spec() { # spec GATE [MORE] [WEIGHTS]
  cat <<ROUTE
edition 1
data points {
  source = csv("one.csv", x = 0, label = 1)
  x: f32 = source.x
  label: int in 0 ..= 1 = source.label
}
parameter a: f32[] = 2
parameter b: f32[] = -1
parameter s: f32[] = 0
parameter t: f32[] = 0
class one = label == 1
class zero = label == 0
class quarter = 0.25 * real(label)
model {
  left = a * x
  right = b * x
  open = ${3:-sigmoid((s + t) * x)}
  y = mix(open, left = left, right = right)
}
loss half = 0.5 * y * y
loss idle = 0 * y
$1
${2:-}
optimize sgd(lr = 1) { masked = zero_grad }
train { batch = 1; for = 1 steps; checkpoint { every = 1 steps } }
ROUTE
}
row() { # row NAME GATE da db ds [MORE] [WEIGHTS] [dt]
  spec "$2" "${6:-}" "${7:-}" >"$1.route"
  for oracle in '' --oracle; do
    expect 0 grad "$1.route" -o g.safetensors $oracle
    local want=(a "$3" b "$4" s "$5" t "${8:-$5}")
    for i in 0 2 4 6; do
      $tool near_values 1e-6 g.safetensors "${want[i]}" "${want[i + 1]}" >/dev/null || fail "$1 $oracle: gradient of ${want[i]}"
    done
  done
  pass
}
gate() { echo "gate chooser { value = open; $1 }"; }
row none '' 0.25 0.25 0.375

# the gradient: all passes, none, that of some data, that of some losses
row pass "$(gate 'gradient = pass')" 0.25 0.25 0.375
row stop "$(gate 'gradient = stop')" 0.25 0.25 0
row stop_when "$(gate 'gradient = stop when one')" 0.25 0.25 0
row stop_when_not "$(gate 'gradient = stop when zero')" 0.25 0.25 0.375
row stop_when_two "$(gate 'gradient = stop when zero, label > 0')" 0.25 0.25 0
row pass_when "$(gate 'gradient = pass when one')" 0.25 0.25 0.375
row pass_when_not "$(gate 'gradient = pass when zero')" 0.25 0.25 0
row stop_for "$(gate 'gradient = stop for half')" 0.25 0.25 0
row stop_for_other "$(gate 'gradient = stop for idle')" 0.25 0.25 0.375
row stop_when_for "$(gate 'gradient = stop when one for half, idle')" 0.25 0.25 0
row stop_when_not_for "$(gate 'gradient = stop when zero for half')" 0.25 0.25 0.375
row stop_when_soft "$(gate 'gradient = stop when quarter')" 0.25 0.25 0.28125

# its own loss: from the target, of the data of `when`, and never stopped by the gate
row target "$(gate 'target = one')" 0.25 0.25 -0.125
row target_no "$(gate 'target = zero')" 0.25 0.25 0.875
row target_share "$(gate 'target = 0.25')" 0.25 0.25 0.625
row target_integer "$(gate 'target = label')" 0.25 0.25 -0.125
row target_only "$(gate 'target = one; gradient = stop')" 0.25 0.25 -0.5
row target_weight "$(gate 'target = one; gradient = stop; weight = 0.5')" 0.25 0.25 -0.25
row target_when "$(gate 'target = one; gradient = stop; when = one')" 0.25 0.25 -0.5
row target_empty "$(gate 'target = one; gradient = stop; when = zero')" 0.25 0.25 0
row target_soft "$(gate 'target = one; gradient = stop; when = quarter')" 0.25 0.25 -0.5
row target_stop_for "$(gate 'target = one; gradient = stop for half')" 0.25 0.25 -0.5
# routes of the gate's value mask its loss like any other; `for` tells them apart
row routed "$(gate 'target = one')" 0.25 0.25 0 'route r: gradient of open { otherwise to none }'
row routed_half "$(gate 'target = one')" 0.25 0.25 -0.5 'route r: gradient of open for half { otherwise to none }'
row routed_own "$(gate 'target = one')" 0.25 0.25 0.375 'route r: gradient of open for chooser { otherwise to none }'
row routed_half_way "$(gate 'target = one; gradient = stop when zero')" 0.25 0.25 -0.109375 \
  'route r: gradient of open { when quarter to none; otherwise to all } { strength = 0.5 }'
# without logits: -log w, of weights that are no sigmoid (of 1/2, -2)
row no_logits "$(gate 'target = one; gradient = stop')" 0.25 0.25 -2 '' '(s + t) * x + 0.5'
row far_away "$(gate 'target = one; gradient = stop')" 10 -16 0 '' '(s + t) * x - 1.6666666'

# the value in training: what stands there, and whether the gate learns behind it
row hard "$(gate 'train = hard')" 0 -1 -0.75
row hard_stop "$(gate 'train = hard; gradient = stop')" 0 -1 0
row hard_stop_when "$(gate 'train = hard; gradient = stop when zero')" 0 -1 -0.75
row open_wide "$(gate 'train = 1')" 2 0 0
row open_pass "$(gate 'train = 1; gradient = pass')" 2 0 1.5
row open_pass_when "$(gate 'train = 1; gradient = pass when zero')" 2 0 0
row open_target "$(gate 'train = 1; target = one')" 2 0 -0.5
row partly "$(gate 'train = 0.25')" -0.0625 -0.1875 0
row by_label "$(gate 'train = label == 1')" 2 0 0
row open_when "$(gate 'train = 1 when one')" 2 0 0
row open_when_not "$(gate 'train = 1 when zero')" 0.25 0.25 0.375
row open_when_soft "$(gate 'train = 1 when quarter')" 0.546875 0.328125 0.4921875
row shown "$(gate 'train = removed')" 1 1 0
row shown_to_others "$(gate 'train = removed when zero')" 0.25 0.25 0.375
row shown_to_it "$(gate 'train = removed when one')" 1 1 0
row shown_by_a_quarter "$(gate 'train = removed when quarter')" 0.390625 0.390625 0.3515625

# two weights: softmax of (s x, t x); dw = dy (2, -1) = (1, -1/2), ds = w (dw - sum of w dw) = 3/8, dt = -3/8
two='softmax(concat(reshape(s * x, [1]), reshape(t * x, [1])))'
row two '' 0.25 0.25 0.375 '' "$two" -0.375
row two_stop "$(gate 'gradient = stop when one')" 0.25 0.25 0 '' "$two"
row two_choice "$(gate 'gradient = stop; target = label')" 0.25 0.25 0.5 '' "$two" -0.5
row two_number "$(gate 'gradient = stop; target = 0')" 0.25 0.25 -0.5 '' "$two" 0.5
row two_each "$(gate 'gradient = stop; target = one_hot(label, 2) > 0')" 0.25 0.25 0.5 '' "$two" -0.5
row two_shares "$(gate 'gradient = stop; target = 0.5 * one_hot(label, 2) + 0.25')" 0.25 0.25 0.25 '' "$two" -0.25
row two_hard "$(gate 'train = hard; gradient = stop')" 2 0 0 '' "$two"
row two_list "$(gate 'train = [0.5, 0]')" 0.5 0 0 '' "$two"
row two_label "$(gate 'train = label; gradient = pass')" 0 -1 -0.75 '' "$two" 0.75

# evaluations: what `deploy` says or else `set`; ablation comes after it
spec "$(gate 'train = 1; deploy = hard')" "$(cat <<'ROUTE'
evaluate deployed { on = points.train; y = mean(y) }
evaluate as_it_is { on = points.train; set chooser = same; y = mean(y) }
evaluate opened { on = points.train; set chooser = 1; y = mean(y) }
evaluate shut { on = points.train; set chooser = 0; y = mean(y); w = mean(open) }
evaluate partly { on = points.train; set chooser = 0.25 when one; y = mean(y) }
evaluate not_at_all { on = points.train; set chooser = 0.25 when zero; y = mean(y) }
evaluate told { on = points.train; set chooser = label == 1; y = mean(y) }
evaluate summed { on = points.train; set chooser = removed; y = mean(y) }
evaluate no_left { on = points.train; set chooser = same; ablate = y.left; y = mean(y) }
evaluate summed_for_others { on = points.train; set chooser = removed when zero; y = mean(y) }
evaluate summed_no_left { on = points.train; set chooser = removed; ablate = y.left; y = mean(y) }
evaluate no_gate { on = points.train; ablate = open; set chooser = 1; y = mean(y) }
expect deployed.y == -1 and as_it_is.y == 0.5 and opened.y == 2 and shut.y == -1 and shut.w == 0 and partly.y == -0.25
expect not_at_all.y == 0.5 and told.y == 2 and summed.y == 1 and no_left.y == -0.5 and summed_no_left.y == -1
expect no_gate.y == -1 and summed_for_others.y == 0.5
ROUTE
)" | sed 's/lr = 1)/lr = 0)/' >deploy.route
train deploy.route deploy
spec "gate chooser { value = open; train = hard; deploy = [0.5, 1] }" "$(cat <<'ROUTE'
evaluate deployed { on = points.train; y = mean(y) }
evaluate hard { on = points.train; set chooser = hard; y = mean(y) }
evaluate told { on = points.train; set chooser = label; y = mean(y) }
evaluate listed { on = points.train; set chooser = [0, 0.5]; y = mean(y) }
evaluate summed { on = points.train; set chooser = removed; y = mean(y) }
expect deployed.y == 0 and hard.y == 2 and told.y == -1 and listed.y == -0.5 and summed.y == 1
ROUTE
)" "$two" | sed 's/lr = 1)/lr = 0)/' >deploy_two.route
train deploy_two.route deploy_two

# what is computed from a mix without its gate is no weight of that gate
spec "gate chooser { value = open }" "$(cat <<'ROUTE'
evaluate summed { on = points.train; set chooser = removed; y = mean(y); z = mean(z) }
expect summed.y == 1 and summed.z == -0.25
ROUTE
)" | sed 's/lr = 1)/lr = 0)/; s/^  y = mix.*/&\n  share = 0.25 * y\n  z = mix(share, left = left, right = right)/' >behind.route
train behind.route behind
echo "$n_checks checks"
