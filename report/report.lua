-- A reader for pandoc: the pieces of a notebook, as handin.py lists them, become Typst. Formulas
-- and pictures stand at its start, each on a line of its own with its source behind it, so that
-- one which Typst refuses is found by its line.

local MARKDOWN = 'commonmark+pipe_tables+raw_html+raw_attribute+strikeout+task_lists'
  .. '+autolink_bare_uris+footnotes'
-- what MathJax knows and pandoc does not; a matrix without braces would merge with its surroundings
local macros = [[
\newcommand{\tag}[1]{\qquad(#1)}\newcommand{\notag}{}\newcommand{\textcolor}[2]{#2}
\newcommand{\hbox}[1]{\text{#1}}\newcommand{\fbox}[1]{\boxed{\text{#1}}}
\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}\newcommand{\mathbbm}[1]{\mathbb{#1}}
\newenvironment{dcases}{\begin{cases}}{\end{cases}}
\newenvironment{matrix}{\begin{pmatrix}\text{plain}}{\end{pmatrix}}
\newenvironment{smallmatrix}{\begin{pmatrix}\text{plain}}{\end{pmatrix}}
\newenvironment{array}[1]{\begin{pmatrix}\text{plain}}{\end{pmatrix}}
]]
local definitions = {
  '\\%a*command%*?%s*{?\\%a+}?%s*%[?%d?%]?%s*%b{}', '\\DeclareMathOperator%*?%s*{?\\%a+}?%s*%b{}',
}
local lines, warnings, targets = pandoc.List(), pandoc.List(), {}
local cell, title, title_cell, first_level, last_level = 0, nil, 0, 6, 0

-- Put Typst on a line of its own; return what stands for it in the text.
local function piece(typst, about)
  about.cell = cell
  lines:extend{'// ' .. pandoc.json.encode(about), ('#let p%d = %s'):format(#lines / 2, typst)}
  return pandoc.RawInline('typst', ('#p%d;'):format(#lines / 2 - 1))
end

local function picture(source, alt, width)
  local options, number, unit = '', (width or ''):match '^([%d.]+)([%a%%]*)$'
  if alt ~= '' then options = ', alt: ' .. pandoc.json.encode((alt:gsub('%s+', ' '))) end
  if unit == '' or unit == 'px' then number, unit = number * 0.75, 'pt' end
  if unit then options = options .. ', width: ' .. number .. unit end
  local typst = ('picture("p%d"%s)'):format(#lines / 2, options)
  return piece(typst, {what = 'picture', source = source, alt = alt})
end

-- Return TeX without what pandoc does not know, and keep its definitions for later formulas.
local function simplified(tex)
  tex = tex:gsub('\\def%s*(\\%a+)([#%d]*)%s*(%b{})', function(name, arguments, body)
    local number = arguments:match '%d$'
    return '\\newcommand{' .. name .. '}' .. (number and '[' .. number .. ']' or '') .. body
  end)
  for _, pattern in ipairs(definitions) do
    for definition in tex:gmatch(pattern) do macros = macros .. definition end
    tex = tex:gsub(pattern, '')
  end
  for font in ('bf rm it sf tt cal'):gmatch '%a+' do
    tex = tex:gsub('{\\' .. font .. '%f[%A]', '\\math' .. font .. '{')
    tex = tex:gsub('\\' .. font .. '%s*{', '\\math' .. font .. '{')
  end
  return (tex:gsub('\\label%s*%b{}', ''):gsub('(\\begin{%a+})%s*%[[tbc]%]', '%1'))
end

-- Put TeX's space between columns of cases, and between pairs of columns of an alignment.
local function spaced(typst)
  local cases, columns = 0, 0
  typst = typst:gsub('cases(%b())', function(rows) return 'cases' .. rows:gsub(' & ', ' &quad ') end)
  return (typst:gsub('\\? ?[&\\%[] ?', function(found)
    columns = found == '\\ ' and 0 or found == ' & ' and columns + 1 or columns
    if columns > 0 and columns % 2 == 0 and found == ' & ' then return ' &quad ' end
  end))
end

function Math(math)
  local tex, typst = simplified(math.text), nil
  if not tex:match '%S' then return {} end
  local failures = pandoc.log.silence(function()
    local one = pandoc.Pandoc{pandoc.Plain{pandoc.Math(math.mathtype, macros .. tex)}}
    typst = pandoc.write(one, 'typst', {wrap_text = 'none'}):gsub('%s+', ' '):gsub(' $', '')
  end)
  typst = spaced(typst)
    :gsub('delim: "||"', 'delim: "‖"')
    :gsub('delim: "%(", upright%("plain"%)', 'delim: #none,')
    :gsub('vec%(upright%("plain"%)', 'vec(delim: #none,')
    :gsub('; #none%)', ')') -- no row after a last line break
    :gsub('([%])]);', '%1 ;') -- ends a row, not the code before it
    :gsub('#scale%(x: (%d+%%), y: %d+%%%)%[(.-)%]', 'lr(size: #%1, %2)')
    :gsub(' ?\\|', ' class("normal", |)') -- no relation
    :gsub('stroke: black, inset: 3pt', 'stroke: 0.5pt, inset: 3pt, baseline: 50%% - 0.25em')
  local block = math.mathtype == 'DisplayMath'
  return piece(#failures == 0 and 'formula(' .. typst .. ')' or 'refused',
    {what = 'formula', source = math.text, block = block})
end

local filter = {Math = Math}

function filter.Image(image)
  local style = image.attributes.style or ''
  local width = image.attributes.width or style:match '^width: *([%w.%%]+)'
  return picture(image.src, pandoc.utils.stringify(image.caption), width)
end

function filter.Link(link)
  local target = link.target:gsub('%%(%x%x)', function(code) return string.char(tonumber(code, 16)) end)
  if targets[target] or not target:match '^#' and target ~= '' then return link end
  if pandoc.utils.stringify(link):match '%S' then
    warnings:insert(("// warning: cell %d: link to '%s' leads nowhere, its text is shown")
      :format(cell, target))
  end
  return link.content
end

function filter.Span(span) -- a footnote that has gone by way of HTML
  if span.classes:includes 'note' then return pandoc.Note{pandoc.Plain(span.content)} end
end

function filter.Header(heading) -- levels from 1 on, without gaps
  last_level = math.min(heading.level - first_level, last_level) + 1
  heading.level = last_level
  return heading
end

function filter.Table(t) -- numbers as pandas aligns them
  if t.classes:includes 'dataframe' then
    t.colspecs = t.colspecs:map(function(spec) return {'AlignRight', spec[2]} end)
  end
  t.identifier = ''
  return t
end

-- Read HTML, and Markdown that has any by way of HTML: they mix as in a browser.
local function read(text, format)
  local doc, html = pandoc.read(text .. "\n", format == 'html' and 'html-auto_identifiers' or MARKDOWN), false
  doc = doc:walk{RawInline = function(raw)
    if raw.format:match 'Math$' then return pandoc.Math(raw.format, raw.text) end
    html = true
  end, RawBlock = function() html = true end}
  if not html then return doc.blocks end
  doc = doc:walk{
    Note = function(note) return pandoc.Span(pandoc.utils.blocks_to_inlines(note.content), {class = 'note'}) end,
    Math = function(math)
      local mode = math.mathtype == 'DisplayMath' and '; mode=display' or ''
      return pandoc.RawInline('html', ('<script type="math/tex%s">%s</script>'):format(mode, math.text))
    end,
  }
  return read(pandoc.write(doc, 'html', {wrap_text = 'none'}), 'html')
end

local function anchor(element) -- Typst knows only one place of a name
  if targets['#' .. element.identifier] then element.identifier = '' end
  targets['#' .. element.identifier] = true
  return element
end

local structure = {Div = anchor, Span = anchor}

function structure.Header(heading) -- take the title out, name the others as Jupyter does
  heading.identifier = pandoc.utils.stringify(heading):gsub('%s', '-')
  anchor(heading)
  if not title and heading.level == 1 then
    title, title_cell = pandoc.Inlines{pandoc.Span({}, {id = heading.identifier})} .. heading.content, cell
    return {}
  end
  first_level = math.min(first_level, heading.level)
  return heading
end

function Reader(input)
  local notebook = pandoc.json.decode(tostring(input), false)
  local body = pandoc.Blocks{}
  for _, part in ipairs(notebook.parts) do
    cell = part.cell
    if part.kind == 'markdown' or part.kind == 'html' then
      part.blocks = read(part.text, part.kind):walk(structure)
    end
  end
  first_level = math.max(first_level, 1) - 1
  for _, part in ipairs(notebook.parts) do
    cell = part.cell
    body:insert(pandoc.RawBlock('typst', '// cell ' .. cell))
    if part.kind == 'picture' then
      local shown = picture(part.text, part.alt, part.width).text:match 'p%d+'
      body:insert(pandoc.RawBlock('typst', '#figure(' .. shown .. ')'))
    else
      body:extend(part.blocks and part.blocks:walk(filter) or {pandoc.CodeBlock(part.text, {class = part.kind})})
    end
  end
  cell = title_cell
  local heading = pandoc.Inlines(title or notebook.name):walk(filter)
  local written = pandoc.write(pandoc.Pandoc{pandoc.Plain(heading)}, 'typst', {wrap_text = 'none'})
  lines:insert("#let about = json(bytes(sys.inputs.about))")
  lines:insert('#show: report.with(title: [' .. written:gsub('%s+$', '') .. '], ..about)')
  lines:extend(warnings)
  body:insert(1, pandoc.RawBlock('typst', table.concat(lines, '\n')))
  return pandoc.Pandoc(body)
end
