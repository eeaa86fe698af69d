"""What the side that runs a model needs besides it: a piece of jsonnet for Wire-Cell, a config for Triton."""

import json
import re

from wirecell_ml.deploy.card import Card

JSONNET = """\
// {name} in a Wire-Cell job. Written by wirecell_ml.export with the values of card.json: do not edit, export again.
//
//   local {identifier} = import 'dnnroi.jsonnet';
//   local rois = {identifier}(anode);      // a pnode: one frame in, one frame out, tagged '{outtag}<anode>'
//
// Put this folder on WIRECELL_PATH, or give the path of the model. The frame must hold these tags, each with the
// number of the anode at its end; a missing one is zeros and no error: {tags}
local g = import 'pgraph.jsonnet';
local wc = import 'wirecell.jsonnet';

function(anode, model='{file}', device='cpu', concurrency=1, nchunks=1, output_scale=1.0, settings={{}})
  local n = anode.data.ident;
  local torch = {{
    type: 'TorchService',
    name: '{name}-' + device,
    data: {{ model: model, device: device, concurrency: concurrency }},
  }};
  local outtag(letter) = '{outtag}%d%s' % [n, letter];  // one for each plane: FrameFanin keeps the last of equal tags

  local finder(plane, letter) = g.pnode({{
    type: 'DNNROIFinding',
    name: '{name}-%d%s' % [n, letter],
    data: {{
      anode: wc.tn(anode),
      plane: plane,
      sort_chanids: {sort_chanids},  // rows are channels {order}, as in the training
      intags: [tag + n for tag in {intags}],
      decon_charge_tag: '{decon_charge_tag}%d' % n,
      outtag: outtag(letter),
      forward: wc.tn(torch),
      input_scale: {input_scale},  // {scaling}
      input_offset: {input_offset},
      output_scale: output_scale,
      mask_thresh: {mask_thresh},
      tick_per_slice: {tick_per_slice},
      tick_pad_multiple: {tick_pad_multiple},
      nchunks: nchunks,
    }} + settings,
  }}, nin=1, nout=1, uses=[torch, anode]);

  // Planes without a network keep the traditional charge.
  local selector(plane, letter) = g.pnode({{
    type: 'PlaneSelector',
    name: '{name}-%d%s' % [n, letter],
    data: {{
      anode: wc.tn(anode),
      plane: plane,
      tags: ['gauss%d' % n],
      tag_rules: [{{ frame: {{ '.*': 'DNNROIFinding' }}, trace: {{ ['gauss%d' % n]: outtag(letter) }} }}],
    }},
  }}, nin=1, nout=1, uses=[anode]);

  local letters = {letters};
  local pipes = [
{pipes}
  ];
  local fanout = g.pnode({{
    type: 'FrameFanout',
    name: '{name}-%d' % n,
    data: {{ multiplicity: std.length(pipes) }},
  }}, nin=1, nout=std.length(pipes));
  local fanin = g.pnode({{
    type: 'FrameFanin',
    name: '{name}-%d' % n,
    data: {{
      multiplicity: std.length(pipes),
      tag_rules: [{{ frame: {{ '.*': outtag(letter) }}, trace: {{ '.*': outtag(letter) }} }} for letter in letters],
    }},
  }}, nin=std.length(pipes), nout=1);
  local merge = g.pnode({{
    type: 'Retagger',
    name: '{name}-%d' % n,
    data: {{ tag_rules: [{{ frame: {{ '.*': '{outtag}%d' % n }}, merge: {{ '.*': '{outtag}%d' % n }} }}] }},
  }}, nin=1, nout=1);

  g.intern(
    innodes=[fanout],
    centernodes=pipes + [fanin],
    outnodes=[merge],
    edges=[g.edge(fanout, pipes[i], i, 0) for i in std.range(0, std.length(pipes) - 1)] +
          [g.edge(pipes[i], fanin, 0, i) for i in std.range(0, std.length(pipes) - 1)] +
          [g.edge(fanin, merge)],
  )
"""

PBTXT = """\
# Triton serves the model as TritonService of Wire-Cell asks for it. Lay it out as
#   <repository>/{name}/config.pbtxt
#   <repository>/{name}/1/{file}
name: "{name}"
platform: "pytorch_libtorch"
default_model_filename: "{file}"
max_batch_size: 0
input [ {{ name: "INPUT__0", data_type: TYPE_FP32, dims: [ 1, {num_tags}, -1, -1 ] }} ]
output [ {{ name: "OUTPUT__0", data_type: TYPE_FP32, dims: [ 1, 1, -1, -1 ] }} ]
parameters: {{ key: "INFERENCE_MODE", value: {{ string_value: "true" }} }}
"""


def jsonnet(card: Card) -> str:
    """Return a jsonnet function of an anode that gives the subgraph which runs the model on all its planes."""
    letters = {plane: plane.lower() for plane in card.plane_numbers}
    pipes = [
        f"    {'finder' if plane in card.planes else 'selector'}({number}, '{letters[plane]}'),"
        for plane, number in card.plane_numbers.items()
    ]
    return JSONNET.format(
        name=card.name,
        identifier=re.sub(r"\W|^(?=\d)", "_", card.name),
        file=card.model["file"],
        outtag=card.outtag,
        tags=", ".join([*card.intags, card.decon_charge_tag]),
        intags=json.dumps(list(card.intags)).replace('"', "'"),
        decon_charge_tag=card.decon_charge_tag,
        sort_chanids=str(card.sort_chanids).lower(),
        order="in ascending order" if card.sort_chanids else "in wire-attachment order",
        input_scale=json.dumps(card.input_scale),
        scaling=f"the model divides each tag by {', '.join(f'{one:g}' for one in card.scale_inside)} itself",
        input_offset=json.dumps(card.input_offset),
        mask_thresh=json.dumps(card.mask_thresh),
        tick_per_slice=card.tick_per_slice,
        tick_pad_multiple=card.tick_pad_multiple,
        letters=json.dumps(list(letters.values())).replace('"', "'"),
        pipes="\n".join(pipes),
    )


def triton_config(card: Card) -> str:
    """Return the ``config.pbtxt`` of a Triton model repository, with the names that TritonService asks for."""
    return PBTXT.format(name=card.name, file=card.model["file"], num_tags=len(card.intags))
