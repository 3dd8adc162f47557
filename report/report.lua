-- A reader for pandoc: what handin.py lists of a notebook becomes Typst. The first line is a comment
-- for handin.py: the formulas and pictures, for which names stand in the text, and what to set
-- instead if Typst refuses one; and what to say of which cell.

local MARKDOWN = 'commonmark+pipe_tables+raw_html+strikeout+task_lists+autolink_bare_uris+footnotes'
-- what MathJax knows and pandoc does not; a matrix without braces would merge with what is around
local macros = [[
\newcommand{\tag}[1]{\qquad(#1)}\newcommand{\notag}{}\newcommand{\nonumber}{}
\newcommand{\textcolor}[2]{#2}\newcommand{\hbox}[1]{\text{#1}}\newcommand{\fbox}[1]{\boxed{\text{#1}}}
\newcommand{\require}[1]{}\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}\newcommand{\|}{\Vert }
\newcommand{\hphantom}[1]{\phantom{#1}}\newcommand{\mathbbm}[1]{\mathbb{#1}}
\newenvironment{dcases}{\begin{cases}}{\end{cases}}
\newenvironment{matrix}{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
\newenvironment{smallmatrix}{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
\newenvironment{array}[1]{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
]]
local FONTS = {bf = true, rm = true, it = true, sf = true, tt = true, cal = true}
local pieces, warnings, places, title, cell = {}, {}, {}, nil, 0
local first_level, last_level = 6, 0

local function typst(blocks)
  return (pandoc.write(pandoc.Pandoc(blocks), 'typst', {wrap_text = 'none'}):gsub('%s+$', ''))
end

-- Typst reads the strings of JSON, too.
local function quoted(text) return pandoc.json.encode((text:gsub('%s+', ' '))) end

local function warn(message) table.insert(warnings, {cell = cell, message = message}) end

-- Keep Typst code for a formula or picture; return what stands for it in the text.
local function piece(code, what, instead, source)
  table.insert(pieces, {cell = cell, code = code, what = what, instead = instead, source = source})
  return pandoc.RawInline('typst', '#p' .. #pieces .. ';')
end

-- Return TeX as pandoc knows it, and keep its definitions for the formulas after it.
local function simplified(tex)
  tex = tex:gsub('\\label%s*%b{}', ''):gsub('(\\begin{%a+})%s*%[[tbc]%]', '%1')
    :gsub('\\left%s*\\{%s*\\begin{array}%s*%b{}(.-)\\end{array}%s*\\right%s*%.',
      '\\begin{cases}%1\\end{cases}')
    :gsub('\\def%s*(\\%a+)%s*#1', '\\newcommand{%1}[1]'):gsub('\\def%s*(\\%a+)', '\\newcommand{%1}')
    :gsub('{%s*\\(%a+)%f[%A]', function(font) return FONTS[font] and '\\math' .. font .. '{' end)
    :gsub('\\(%a+)%s*{', function(font) return FONTS[font] and '\\math' .. font .. '{' end)
  for _, command in ipairs{'\\%a*command', '\\DeclareMathOperator'} do
    for definition in tex:gmatch(command .. '%*?%s*{?\\%a+}?%s*%[?%d?%]?%s*%b{}') do
      macros = macros .. definition
    end
  end
  return tex
end

local function formula(tex, display)
  local math, code = pandoc.Math(display and 'DisplayMath' or 'InlineMath', macros .. simplified(tex))
  local failures = pandoc.log.silence(function() code = typst{pandoc.Plain{math}} end)
  if code:match '^%$%s*%$$' then return {} end -- definitions only
  code = code:gsub('%s+', ' ')
    -- a gap in cases and between pairs of columns, as TeX leaves one
    :gsub('cases%b()', function(rows) return rows:gsub(' & ', '\2 quad ') end)
    :gsub('\\ ', '\1'):gsub('( & [^\1&]* [^\1&]*) & ', '%1\2 quad '):gsub('\1', '\\ '):gsub('\2', ' &')
    :gsub('delim: "||"', 'delim: "‖"'):gsub('vec%(upright%("bare"%)', 'vec(delim: #none,')
    :gsub('delim: "%(", upright%("bare"%)', 'delim: #none,')
    :gsub('; #none%)', ')') -- no row after a last line break
    :gsub('([%])]);', '%1 ;') -- ends a row, not the code before it
    :gsub('#scale%(x: (%d+%%), y: %d+%%%)%[(.-)%]', 'lr(size: #%1, %2)')
    :gsub('\\|', 'class("normal", |)'):gsub('∥', ' bar.v.double ') -- no relations
    :gsub('bar%.v%.double', 'class("normal", ‖)')
    :gsub('stroke: black, inset: 3pt', 'stroke: 0.5pt, inset: 3pt, baseline: 50%% - 0.25em')
  code = #failures == 0 and 'formula(' .. code .. ')' or 'refused'
  local instead = ('raw(%s, block: %s)'):format(quoted(tex), display)
  return piece(code, 'formula ' .. tex:gsub('%s+', ' '), instead)
end

local filter = {
  CodeBlock = function(code) return pandoc.CodeBlock(code.text, {class = code.classes[1]}) end,
  Figure = function(figure) -- pandoc would give it an empty caption
    if #figure.caption.long > 0 then return figure end
    return pandoc.RawBlock('typst', '#figure[' .. typst(figure.content) .. ']')
  end,
  Header = function(heading) -- levels from 1 on, without gaps
    last_level = math.min(heading.level - first_level, last_level) + 1
    heading.level = last_level
    return heading
  end,
  Image = function(image)
    local alt, source = pandoc.utils.stringify(image.caption), image.src
    local style = (image.attributes.style or ''):match '^width: *([%w.%%]+)'
    local number, unit = (image.attributes.width or style or ''):match '^([%d.]+)([%a%%]*)$'
    if unit == '' or unit == 'px' then number, unit = number * 0.75, 'pt' end
    if unit == 'pt' and number + 0 > 480 then number, unit = 100, '%' end -- the width of the text
    local options = (alt ~= '' and ', alt: ' .. quoted(alt) or '')
      .. (unit and ', width: ' .. number .. unit or '')
    local name = ('[%s: %s]'):format(alt ~= '' and alt or 'picture', source:sub(1, 80))
    local code = ('image("p%d"%s)'):format(#pieces + 1, options)
    return piece(code, 'picture ' .. name, quoted(name), source)
  end,
  Link = function(link)
    local target = link.target:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)
    if places[target] or not target:match '^#' and target ~= '' then return link end
    if pandoc.utils.stringify(link):match '%S' then
      warn(("link to '%s' leads nowhere, its text is shown"):format(target))
    end
    return link.content
  end,
  Math = function(math) return formula(math.text, math.mathtype == 'DisplayMath') end,
  Span = function(span)
    local label = '#metadata(none)#label(' .. quoted(span.identifier) .. ')'
    if span.identifier ~= '' then span.content:insert(1, pandoc.RawInline('typst', label)) end
    return span.content
  end,
  Table = function(t) -- numbers as pandas aligns them
    if not t.classes:includes 'dataframe' then return t end
    t.colspecs = t.colspecs:map(function(spec) return {'AlignRight', spec[2]} end)
    return t
  end,
}

-- Markdown and HTML mix as in a browser: both are read as HTML.
local function read(text, kind)
  if kind == 'markdown' then
    text = pandoc.write(pandoc.read(text .. '\n', MARKDOWN), 'html', {highlight_method = 'none'})
  end
  return pandoc.read(text, 'html-auto_identifiers+task_lists').blocks
end

local function place(element) -- Typst knows only one of a name
  if places['#' .. element.identifier] then element.identifier = '' end
  places['#' .. element.identifier] = element.identifier ~= ''
  return element
end

local structure = {Div = place, Span = place}
function structure.Header(heading) -- take the title out, name the others as Jupyter does
  heading.identifier = pandoc.utils.stringify(heading):gsub('%s', '-')
  place(heading)
  if title or heading.level > 1 then
    first_level = math.min(first_level, heading.level)
    return heading
  end
  heading.content:insert(1, pandoc.Span({}, {heading.identifier}))
  title = {cell = cell, content = heading.content}
  return {}
end

function Reader(input)
  local notebook, body = pandoc.json.decode(tostring(input), false), pandoc.Blocks{}
  for _, part in ipairs(notebook.parts) do
    cell = part.cell
    if part.kind == 'markdown' or part.kind == 'html' then
      part.blocks = read(part.text, part.kind):walk(structure)
      if #part.blocks == 0 and part.kind == 'html' then warn 'its HTML shows nothing on paper' end
    end
  end
  title = title or {cell = 1, content = pandoc.Inlines(notebook.name)}
  for _, part in ipairs(notebook.parts) do
    cell = part.cell
    body:insert(pandoc.RawBlock('typst', ('//%d'):format(cell)))
    local listing = pandoc.CodeBlock(part.text, {class = part.kind})
    body:extend(part.blocks and part.blocks:walk(filter) or {listing})
  end
  cell = title.cell
  local heading = typst{pandoc.Plain(title.content:walk(filter))}
  local about = {pieces = pieces, warnings = warnings, title = heading, cell = cell}
  body:insert(1, pandoc.RawBlock('typst', '//' .. pandoc.json.encode(about)))
  return pandoc.Pandoc(body)
end
