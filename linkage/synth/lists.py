"""The word lists that names are made of. Lines of space-separated words, `_` for a blank inside a word."""

from __future__ import annotations

from typing import NamedTuple


def words(text: str) -> tuple[str, ...]:
    """The words of `text`, `_` in them read as a blank."""
    return tuple(word.replace("_", " ") for word in text.split())


class Language(NamedTuple):
    """What firms, people and streets are made of in one language.

    Attributes:
        surnames: whole surnames; more are composed from `heads` and `tails`.
        heads: first syllables of composed surnames.
        tails: last syllables of composed surnames.
        given: given names.
        trades: trades as a directory prints them.
        nouns: words for what a firm is, put before or after a name.
        streets: street names, without the kind of street.
        street: how an address is written, with {street} and {number}.
        towns: places.
        joiner: word for "and".
        company: ways to write "and company".
        kin: ways to write a family firm, with {name}.
        forms: legal forms, each a group of spellings of one form.
    """

    surnames: tuple[str, ...]
    heads: tuple[str, ...]
    tails: tuple[str, ...]
    given: tuple[str, ...]
    trades: tuple[str, ...]
    nouns: tuple[str, ...]
    streets: tuple[str, ...]
    street: tuple[str, ...]
    towns: tuple[str, ...]
    joiner: str
    company: tuple[str, ...]
    kin: tuple[str, ...]
    forms: tuple[tuple[str, ...], ...]


ENGLISH = Language(
    surnames=words(
        "Smith Jones Taylor Brown Wilson Evans Thomas Johnson Roberts Walker Wright Robinson Thompson White Hughes "
        "Edwards Green Hall Wood Harris Lewis Martin Jackson Clarke Clark Turner Hill Cooper Ward Morris Moore "
        "King Watson Baker Harrison Morgan Allen James Scott Phillips Parker Bennett Young Shaw Cook Richardson "
        "Carter Bell Collins Bailey Davies Murray Miller Cox Marshall Simpson Price Anderson Adams Foster Ellis "
        "Webb Chapman Mason Hunt Rogers Gray Reid Graham Palmer Holmes Mills Barnes Knight Lloyd Butler Russell "
        "Fisher Stevens Jenkins Dixon Harvey Pearson Fletcher Howard Andrews Reynolds Elliott Ford Fox Wells West "
        "Payne Armstrong Perkins Burton Lawson Dawson Newton Barker Porter Stone Grant Crawford Gibson Pickering "
        "Tennant Whitlock Aldridge"
    ),
    heads=words(
        "Ash Black Brad Brom Bur Cal Car Ches Clay Cran Dun Ed El Fair Far Gar Glen Gold Had Hal Ham Har Hart Hay "
        "Holl Hor Hunt Kel Ken Kings Lang Lin Long Lud Mal Mar Mel Mor New Nor Oak Os Pem Pen Rad Raw Red Ring "
        "Roth Rud San Sed Shel Sher Stan Staf Stock Sut Tar Thorn Tun Up Wal Wat Wen Whit Wil Win Wool Wyn York"
    ),
    tails=words(
        "bury by combe cott croft den der don er field ford gate grave ham hurst ing kin land ley low lock man "
        "mann mer more ner ock port ridge row sby sett shaw son stead stone ston ter thorpe ton tree vale ville "
        "wall ward way well wick win wood worth wright yard"
    ),
    given=words(
        "John William George Henry Charles James Thomas Robert Edward Joseph Arthur Frederick Alfred Samuel Walter "
        "Albert Benjamin Daniel David Edwin Ernest Francis Frank Harold Herbert Hugh Isaac Jacob Matthew Peter "
        "Philip Richard Stephen Ann Mary Elizabeth Sarah Emma Alice Jane Margaret Ellen Martha Susan Catherine "
        "Florence"
    ),
    trades=words(
        "grocer baker butcher tailor draper ironmonger solicitor chemist boot_maker shoe_maker watch_maker "
        "tobacconist stationer printer bookseller bookbinder coach_builder wheelwright farrier saddler cooper "
        "plumber painter builder carpenter cabinet_maker upholsterer brewer wine_merchant coal_merchant "
        "timber_merchant corn_factor wool_stapler cotton_broker ship_chandler rope_maker sail_maker milliner "
        "dressmaker hosier glover hatter furrier jeweller goldsmith gunsmith cutler brass_founder iron_founder "
        "engineer surveyor architect auctioneer accountant dairyman fishmonger fruiterer florist confectioner "
        "hairdresser laundress photographer optician"
    ),
    nouns=words(
        "Trading Hardware Enterprise Bakery Stores Restaurant Pharmacy Motors Electrical Engineering Supplies "
        "Furniture Printing Stationery Books Electronics Foods Marketing Services Holdings Industries Construction "
        "Transport Logistics Textiles Garments Optical Dental_Clinic Clinic Cafe Bistro Kitchen Grill Bar Hotel "
        "Inn Supermarket Mini_Market Market Mart Gift_Shop Boutique Fashion Shoes Sports Toys Music Cycles "
        "Auto_Parts Tyres Paints Plastics Metals Steel_Works Iron_Works Brewery Dairy Farms Mills Timber Ceramics "
        "Glass Chemicals Laundry Photo_Studio Travel Insurance Bank Estates Properties Gas_Works Coal Shipping "
        "Tobacco Sugar Tea Coffee"
    ),
    streets=words(
        "High Church Station Park Victoria Albert Queen King George Market Bridge Mill North South West Castle "
        "London York Chapel Spring Water Wellington Nelson Union Prince Regent Oxford Cambridge Duke Bond Fleet "
        "Broad Charles Temple Gold Silver Orchard Garden Grove Hill Meadow Wood Abbey Priory Tower Canal Dock "
        "Harbour Mercer Tanner"
    ),
    street=(
        "{number} {street} Street",
        "{number} {street} St.",
        "{number}, {street} Road",
        "{street} Rd. {number}",
        "{number} {street} lane",
        "{street} st, {number}",
        "{number} {street} Avenue",
        "{number} {street} place",
        "No. {number} {street} Square",
    ),
    towns=words(
        "London Manchester Leeds Bristol Sheffield Liverpool York Bath Exeter Norwich Derby Hull Boston New_York "
        "Chicago Albany Salem Dover Kent Sussex Durham Dublin Cork Belfast Glasgow Perth Sydney Auckland Toronto "
        "Halifax Kingston Cape_Town Singapore Penang Johor Ipoh Malacca Klang Bangkok Manila Madras Calcutta "
        "Colombo Rangoon"
    ),
    joiner="and",
    company=("& Co.", "& Co", "and Co.", "& Company", "and Company", "& C°"),
    kin=(
        "{name} Bros.",
        "{name} Brothers",
        "{name} & Sons",
        "{name} & Son",
        "Mrs. {name}",
        "{name} & Nephew",
        "Messrs. {name}",
    ),
    forms=(
        ("Ltd", "Ltd.", "Limited", "LTD"),
        ("Inc", "Inc.", "Incorporated"),
        ("PLC", "plc"),
        ("Corp.", "Corporation", "Corp"),
        ("LLC", "L.L.C."),
        ("Sdn Bhd", "SDN BHD", "Sdn. Bhd.", "S/B"),
        ("(M) Sdn Bhd", "(M) SDN. BHD.", "(M) S/B"),
        ("Pte Ltd", "PTE. LTD.", "Pte. Ltd"),
        ("Pty Ltd", "Pty. Limited"),
        ("Berhad", "BHD", "Bhd."),
        ("Pvt Ltd", "Private Limited"),
    ),
)

FRENCH = Language(
    surnames=words(
        "Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy Moreau Simon Laurent Lefebvre Michel "
        "Garcia Bertrand Roux Vincent Fournier Morel Girard André Lefèvre Mercier Dupont Lambert Bonnet François "
        "Martinez Legrand Garnier Faure Rousseau Blanc Guérin Muller Henry Roussel Nicolas Perrin Morin Mathieu "
        "Clément Gauthier Dumont Lopez Fontaine Chevalier Robin Masson Sanchez Gérard Nguyen Boyer Denis Lemaire "
        "Duval Joly Gautier Roger Renaud Gaillard Leclerc Barbier Arnaud Colin Caron Aubert Philippe Picard Vidal "
        "Brun Leroux Lacroix Carpentier Meunier Huet Renard Marchand Charpentier Dufour Blanchard Marie Meyer "
        "Collet Prévost Bourgeois Delahaye Jacquemin Poirier Hébert Vasseur Cordier Maillard Perrot Bouvier "
        "Tessier Béranger Delaunay Quentin"
    ),
    heads=words(
        "Al Au Bar Beau Ber Bois Bon Bou Bré Cau Cha Cham Char Chau Clé Cor Cou Cour Dar De Des Du Es Fal Fau Fon "
        "Fou Gau Gi Gou Gué Ha Hu Ja La Lam Lar Le Lé Lou Ma Mal Mar Mau Mé Mon Mou Na Or Pa Pe Pel Per Pi Po Pré "
        "Qué Ra Ré Ri Ro Rou Sa Sau Se Sou Ta Ter Thi Ti Tou Tré Va Val Vau Ver Vi Voi"
    ),
    tails=words(
        "bault bel bert bin blet bois bray card cat champ chard chet cier court dat deau dier din don dot drin "
        "fort gard geot gnon gnier land lard lat let let lier lin lot main mand met mier mont nard net neau nier "
        "not quet quier rand rard rat reau ret rier ron rot rin sac seau sier son taud teau tier tin ton tot vard "
        "vat vel ville vin zat"
    ),
    given=words(
        "Jean Pierre Louis Joseph Charles Henri Paul Émile Jules Auguste Eugène Léon Alphonse Édouard Victor "
        "Ernest François Antoine Gustave Alexandre Adolphe Camille Étienne Félix Georges Gabriel Marie Jeanne "
        "Louise Julie Pauline Adèle Clémentine Sophie Rose Virginie Hippolyte Théodore Achille Honoré"
    ),
    trades=words(
        "épicier boulanger boucher tailleur cordonnier bottier chapelier bijoutier horloger menuisier ébéniste "
        "serrurier peintre vitrier maçon charpentier tonnelier libraire imprimeur relieur papetier graveur doreur "
        "lampiste ferblantier quincaillier mercier bonnetier lingère couturière modiste gantier fourreur parfumeur "
        "coiffeur pharmacien herboriste droguiste confiseur pâtissier traiteur restaurateur limonadier "
        "march._de_vins vins_en_gros charcutier fruitier crémier march._de_bois charbonnier carrossier sellier "
        "maréchal-ferrant architecte avoué notaire huissier médecin dentiste sage-femme professeur rentier "
        "nouveautés soieries dentelles fab._de_bronzes fab._de_pianos luthier opticien tapissier miroitier "
        "fleurs_artif. commissionn. négociant"
    ),
    nouns=words(
        "Boulangerie Pharmacie Librairie Imprimerie Brasserie Maison Hôtel Café Restaurant Épicerie Manufacture "
        "Entreprise Fonderie Filature Tannerie Verrerie Distillerie Compagnie Comptoir Galeries Bazar Ateliers "
        "Établissements Société Garage Messageries Chocolaterie Papeterie Teinturerie Droguerie Charcuterie"
    ),
    streets=words(
        "Rivoli St-Honoré Montmartre St-Denis St-Martin Mauconseil Richelieu Vivienne Rambuteau Turbigo Lafayette "
        "Provence Rochechouart Bac Seine Bourgogne Grenelle Vaugirard Rennes Beaubourg Temple Bretagne Turenne "
        "Francs-Bourgeois Italiens Poissonnière Hauteville Paradis Faub.-St-Denis Petites-Écuries Bondy Charonne "
        "Picpus Quincampoix Lombards Verrerie Cherche-Midi Four Dauphine Mazarine Monsieur-le-Prince Cujas Écoles"
    ),
    street=(
        "{street}, {number}",
        "r. {street}, {number}",
        "rue {street}, {number}",
        "{number}, rue {street}",
        "boul. {street}, {number}",
        "{number} rue de {street}",
        "quai {street}, {number}",
        "pl. {street}, {number}",
        "avenue {street} {number}",
    ),
    towns=words(
        "Paris Lyon Marseille Lille Bordeaux Nantes Rouen Toulouse Reims Dijon Nancy Metz Tours Orléans Amiens "
        "Angers Caen Limoges Grenoble Nîmes Genève Lausanne Bruxelles Liège Gand Namur Québec Alger Tunis"
    ),
    joiner="et",
    company=("et Cie", "& Cie", "et Cⁱᵉ", "et Comp.", "& C°"),
    kin=(
        "{name} frères",
        "{name} fils",
        "{name} père et fils",
        "Vve {name}",
        "veuve {name}",
        "{name} aîné",
        "{name} j.ne",
    ),
    forms=(
        ("S.A.", "SA", "Société Anonyme"),
        ("SARL", "S.A.R.L.", "Sàrl"),
        ("S.N.C.", "SNC"),
        ("S.A.S.", "SAS"),
    ),
)

GERMAN = Language(
    surnames=words(
        "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter "
        "Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Krause "
        "Meier Lehmann Schmid Schulze Maier Köhler Herrmann König Walter Mayer Huber Kaiser Fuchs Peters Lang "
        "Scholz Möller Weiß Jung Hahn Schubert Vogel Friedrich Keller Günther Frank Berger Winkler Roth Beck "
        "Lorenz Baumann Franke Albrecht Schuster Simon Ludwig Böhm Winter Kraus Martin Schumacher Krämer Vogt "
        "Stein Jäger Otto Sommer Groß Seidel Heinrich Brandt Haas Schreiber Graf Dietrich Ziegler Kuhn Kühn Pohl "
        "Engel Horn Busch Bergmann Thomas"
    ),
    heads=words(
        "Al Alt Am Ar Bach Baum Ber Berg Bern Bier Blum Bock Brand Burg Dorn Ebers Eck Eich Eng Er Feld Fels Fin "
        "Gold Grün Hal Har Hei Hein Her Him Hirsch Hoch Hol Hum Kal Kauf Kirch Kle Kron Lan Leh Lin Löw Lud Mark "
        "Mei Mer Nie Nord Ober Ost Reh Rei Rein Rosen Ru Sal Schil Schön Sie Sil Stein Stern Sul Süß Tan Thal Trau "
        "Uhl Vol Wal Wei Wein Wer Wie Wind Zim Zie"
    ),
    tails=words(
        "ach bach baum beck berg berger born brecht brink bruch burg burger cker dorf dorfer eck ecker el er feld "
        "felder fels fink garten haber hard hardt hausen häuser heim heimer hof hofer holz horn huber kamp ke kel "
        "ler ling lich litz mann meier mer meyer müller ner nick nig recht reich ring roth sack scher schke "
        "schmidt stein steiner stock thal tner wald walter wig zel zer"
    ),
    given=words(
        "Johann Karl Friedrich Wilhelm Heinrich Georg Hermann Otto Ernst August Franz Josef Ludwig Adolf Paul Max "
        "Hans Emil Gustav Hugo Theodor Anton Peter Robert Richard Rudolf Julius Konrad Anna Maria Emma Bertha "
        "Clara Elise Ida Martha Johanna Luise Auguste Wilhelmine"
    ),
    trades=words(
        "Bäckermeister Fleischer Schneider Schuhmacher Tischler Schlosser Klempner Maler Maurer Zimmermann "
        "Kaufmann Gastwirt Restaurateur Buchhändler Buchbinder Buchdrucker Uhrmacher Goldarbeiter Graveur "
        "Drechsler Böttcher Sattler Tapezierer Glaser Töpfer Gärtner Kutscher Fuhrmann Lehrer Beamter Rentier "
        "Agent Apotheker Arzt Rechtsanwalt Ingenieur Architekt Weinhdlg. Kolonialw. Papierhdlg. Zigarrenhdlg. "
        "Tuchhdlg. Eisenhdlg. Holzhdlg. Kohlenhdlg. Möbelfabr. Maschinenfabr. Seifenfabr. Hutmacher Kürschner "
        "Handschuhm. Friseur Musiker Photograph"
    ),
    nouns=words(
        "Bäckerei Apotheke Buchhandlung Druckerei Brauerei Gasthaus Maschinenfabrik Eisenwerk Werkzeugbau "
        "Möbelhaus Autohaus Metzgerei Konditorei Weinhandlung Papierfabrik Porzellanfabrik Spinnerei Weberei "
        "Ziegelei Kaufhaus Verlag Handelshaus Spedition Sägewerk Gärtnerei Optik Elektrotechnik Baugeschäft "
        "Glashütte Lederwaren"
    ),
    streets=words(
        "Haupt Bahnhof Kirch Schul Garten Berg Wald Wilhelm Friedrich Linden Markt Kaiser Goethe Schiller Blumen "
        "Rosen Mühlen Brunnen Graben Leipziger Berliner Dresdner Frankfurter Hamburger Kölner Münchner Post Ring "
        "Wall Ufer"
    ),
    street=(
        "{street}str. {number}",
        "{street}straße {number}",
        "{street}gasse {number}",
        "{street}platz {number}",
        "{street}weg {number}",
        "{street}allee {number}",
    ),
    towns=words(
        "Berlin Hamburg München Köln Leipzig Dresden Breslau Frankfurt Stuttgart Hannover Nürnberg Magdeburg "
        "Chemnitz Kassel Mainz Wien Graz Linz Salzburg Zürich Basel Bern Prag Lübeck Bremen Kiel Danzig Königsberg"
    ),
    joiner="und",
    company=("& Co.", "u. Co.", "& Cie.", "und Co.", "& Comp."),
    kin=(
        "Gebr. {name}",
        "Gebrüder {name}",
        "{name} & Sohn",
        "{name} & Söhne",
        "{name} Wwe.",
        "{name} Nachf.",
        "{name} Erben",
    ),
    forms=(
        ("GmbH", "G.m.b.H.", "G. m. b. H."),
        ("AG", "A.-G.", "Aktiengesellschaft"),
        ("OHG", "o.H.G."),
        ("KG", "K.G."),
        ("e.K.", "eK"),
        ("GmbH & Co. KG", "GmbH u. Co. KG"),
    ),
)

SOUTHERN = Language(
    surnames=words(
        "Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti Costa Giordano "
        "Mancini Rizzo Lombardi Moretti Barbieri Fontana Santoro Mariani Rinaldi Caruso Ferrara Galli Martini "
        "Leone Longo Gentile Martinelli Vitale Lombardo Serra Coppola García González Rodríguez Fernández López "
        "Martínez Sánchez Pérez Gómez Jiménez Ruiz Hernández Díaz Moreno Muñoz Álvarez Romero Alonso Gutiérrez "
        "Navarro Torres Domínguez Vázquez Ramos Gil Ramírez Serrano Blanco Molina Morales Suárez Ortega Delgado "
        "Castro Ortiz Rubio Silva Santos Ferreira Pereira Oliveira Carvalho Almeida Lopes Teixeira Fonseca "
        "Magalhães Simões Guimarães"
    ),
    heads=words(
        "Al Ama An Ar Ba Bar Be Bel Ben Ber Bo Bra Ca Cal Can Car Cas Ce Co Cor Cu Da De Di Do Fa Fe Fi Fo Fran Ga "
        "Ge Gi Gran Gri Gua La Le Li Lo Lu Ma Mal Man Mar Me Mo Mon Mu Na Ne Ni No Or Pa Pe Pi Po Qua Ra Re Ri Ro "
        "Sa Sal San Sca Se Sil So Spa Ta Te Ti To Tra Va Ve Vi Vol Za"
    ),
    tails=words(
        "bello berti bini cci cchi celli chetti coni dani dero detti doni ffi ganti gari getti ghini gliani gnoli "
        "lani lari latti leri lini lli lombo mani mari melli mini nardi nati nelli neri nesi netti nini ngo nari "
        "pelli pini rani ratti relli reri retti rini rizzi roni rossi sani sari selli seri sini sotti stri tani "
        "telli teri tini toni tti vani velli veri vini zani zelli zini zzi zo dez rez llo lla mez nal ral sal rro "
        "rra jano jedo vero"
    ),
    given=words(
        "Giovanni Giuseppe Antonio Francesco Luigi Pietro Carlo Angelo Vincenzo Domenico Salvatore Paolo Maria "
        "Teresa Rosa Juan José Manuel Pedro Luis Miguel Rafael Ramón Carmen Dolores João Joaquim Fernando Alberto "
        "Enrico"
    ),
    trades=words(
        "panettiere macellaio sarto calzolaio orefice orologiaio falegname fabbro libraio tipografo farmacista "
        "oste droghiere vini_e_oli panadero carnicero sastre zapatero platero relojero carpintero herrero librero "
        "impresor boticario comestibles vinos_y_licores tejidos ferretería sombrerero padeiro alfaiate sapateiro "
        "ourives livreiro"
    ),
    nouns=words(
        "Trattoria Farmacia Libreria Tipografia Albergo Ristorante Pasticceria Fratelli_Officine Cantina Vetreria "
        "Panadería Ferretería Almacenes Bodegas Imprenta Hotel Restaurante Talleres Mercería Confecciones Padaria "
        "Livraria Casa Comercial Importadora Molino Fábrica_de_Jabón Calzados Muebles Joyería Óptica"
    ),
    streets=words(
        "Roma Garibaldi Mazzini Cavour Dante Verdi Manzoni Nazionale Vittorio_Emanuele San_Marco Toledo Mayor Real "
        "Alcalá Atocha San_Juan Santa_Cruz del_Carmen Nueva Ancha Libertad Augusta do_Ouro da_Prata Direita "
        "Garrett"
    ),
    street=(
        "via {street}, {number}",
        "via {street} {number}",
        "corso {street}, {number}",
        "calle {street}, {number}",
        "c. {street} {number}",
        "plaza {street}, {number}",
        "rua {street}, {number}",
        "piazza {street}, {number}",
    ),
    towns=words(
        "Roma Milano Torino Napoli Genova Firenze Venezia Bologna Palermo Trieste Madrid Barcelona Sevilla "
        "Valencia Bilbao Cádiz Málaga Zaragoza Lisboa Porto Coimbra Buenos_Aires Montevideo Lima Bogotá México "
        "La_Habana Santiago"
    ),
    joiner="e",
    company=("e C.", "& C.", "y Cía.", "y Cía", "& Cia.", "e Comp."),
    kin=(
        "Fratelli {name}",
        "F.lli {name}",
        "{name} e Figli",
        "{name} Hermanos",
        "{name} Hnos.",
        "Hijos de {name}",
        "Viuda de {name}",
    ),
    forms=(
        ("S.p.A.", "SpA", "S.P.A."),
        ("S.r.l.", "Srl", "S.R.L."),
        ("S.A.", "SA"),
        ("S.L.", "SL"),
        ("S.A. de C.V.", "SA de CV"),
        ("Lda.", "Lda", "Limitada"),
        ("Ltda.", "LTDA"),
    ),
)

LANGUAGES = {"en": ENGLISH, "fr": FRENCH, "de": GERMAN, "south": SOUTHERN}
