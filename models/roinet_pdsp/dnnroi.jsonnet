// roinet_pdsp in a Wire-Cell job. Written by wirecell_ml.export with the values of card.json: do not edit, export again.
//
//   local roinet_pdsp = import 'dnnroi.jsonnet';
//   local rois = roinet_pdsp(anode);      // a pnode: one frame in, one frame out, tagged 'dnnsp<anode>'
//
// Put this folder on WIRECELL_PATH, or give the path of the model. The frame must hold these tags, each with the
// number of the anode at its end; a missing one is zeros and no error: loose_lf, mp2_roi, mp3_roi, decon_charge
local g = import 'pgraph.jsonnet';
local wc = import 'wirecell.jsonnet';

function(anode, model='model.ts', device='cpu', concurrency=1, nchunks=1, output_scale=1.0, settings={})
  local n = anode.data.ident;
  local torch = {
    type: 'TorchService',
    name: 'roinet_pdsp-' + device,
    data: { model: model, device: device, concurrency: concurrency },
  };
  local outtag(letter) = 'dnnsp%d%s' % [n, letter];  // one for each plane: FrameFanin keeps the last of equal tags

  local finder(plane, letter) = g.pnode({
    type: 'DNNROIFinding',
    name: 'roinet_pdsp-%d%s' % [n, letter],
    data: {
      anode: wc.tn(anode),
      plane: plane,
      sort_chanids: true,  // rows are channels in ascending order, as in the training
      intags: [tag + n for tag in ['loose_lf', 'mp2_roi', 'mp3_roi']],
      decon_charge_tag: 'decon_charge%d' % n,
      outtag: outtag(letter),
      forward: wc.tn(torch),
      input_scale: 1.0,  // the model divides each tag by 4000, 4000, 4000 itself
      input_offset: 0.0,
      output_scale: output_scale,
      mask_thresh: 0.5,
      tick_per_slice: 10,
      tick_pad_multiple: 10,
      nchunks: nchunks,
    } + settings,
  }, nin=1, nout=1, uses=[torch, anode]);

  // Planes without a network keep the traditional charge.
  local selector(plane, letter) = g.pnode({
    type: 'PlaneSelector',
    name: 'roinet_pdsp-%d%s' % [n, letter],
    data: {
      anode: wc.tn(anode),
      plane: plane,
      tags: ['gauss%d' % n],
      tag_rules: [{ frame: { '.*': 'DNNROIFinding' }, trace: { ['gauss%d' % n]: outtag(letter) } }],
    },
  }, nin=1, nout=1, uses=[anode]);

  local letters = ['u', 'v', 'w'];
  local pipes = [
    finder(0, 'u'),
    finder(1, 'v'),
    selector(2, 'w'),
  ];
  local fanout = g.pnode({
    type: 'FrameFanout',
    name: 'roinet_pdsp-%d' % n,
    data: { multiplicity: std.length(pipes) },
  }, nin=1, nout=std.length(pipes));
  local fanin = g.pnode({
    type: 'FrameFanin',
    name: 'roinet_pdsp-%d' % n,
    data: {
      multiplicity: std.length(pipes),
      tag_rules: [{ frame: { '.*': outtag(letter) }, trace: { '.*': outtag(letter) } } for letter in letters],
    },
  }, nin=std.length(pipes), nout=1);
  local merge = g.pnode({
    type: 'Retagger',
    name: 'roinet_pdsp-%d' % n,
    data: { tag_rules: [{ frame: { '.*': 'dnnsp%d' % n }, merge: { '.*': 'dnnsp%d' % n } }] },
  }, nin=1, nout=1);

  g.intern(
    innodes=[fanout],
    centernodes=pipes + [fanin],
    outnodes=[merge],
    edges=[g.edge(fanout, pipes[i], i, 0) for i in std.range(0, std.length(pipes) - 1)] +
          [g.edge(pipes[i], fanin, 0, i) for i in std.range(0, std.length(pipes) - 1)] +
          [g.edge(fanin, merge)],
  )
